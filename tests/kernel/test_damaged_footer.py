"""A table whose footer is damaged in a column that nobody asked for: pyarrow ends the whole process where it is looked at."""

from __future__ import annotations

import base64
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

TABLE = (
    "c-oCqPm9w)6n~ixF<nw<#R&=I5QGgCySr`I$|7BG(rwkX#cn~nh#;|zZFRS;O=`u1=uJI{c=Y6H{Q?ReM7#*z)lZ=4X-|6avbZxzw%w|T12dU7"
    "@BRMFV^XEH48i2SK+5Fn=XY<Sc_I-w2#|cauw$%j13ZfXz^FH9x`utFH}s5jCc7BHv6F8rZj=ByL`-t`#kU<<XUI4aiKrikWNbfTQJo6Yi3EfK"
    "Giv~d1(JXwUw|1gNS3_c`m`lX`H0^G;22&SVH2~-qz{v0<k5%i?@^t|p|py5PQ?OS6`b4`O+*t9LMD-OMSg|a+NB(*qT6UYn>N8f<XNO*&$;Ez"
    "LRn{pxfwOu>Gp@-<xbNjh=}DpKgBBE=(rw1KoCP5a5kJxr|W?tX}Xp&fqBz%AjY+TjL3?lyhh3sWZp5Q|7n$$VtoP55A2c%@=9A1H4`MJ&goG="
    "zcexD8`?9%1ZCx;p!^ifAIN-){@tQK#EzH})=CKZa>`?@NT#Gb#GvV_Ol!4s^%FtI)K_SMkE4{2H5!bwl#Zy?q9saOw9xX;EQ`_#-xMf4;~z}E"
    "G}spCI9|QRNSD~ASSitQsyJ4$e9~3E*!A3~xn8?!*K4<Ve7(w{V|=0bJAOjaZ=Sl~1#ye6_$C@*sbAg-LFaj%NuK8S^1;@)rsR`aqrdT|FRr)K"
    "d$Bc@UtR{)=-Y!EL&uwI^!s!6V9*;GH=Tjo>2-~4ZazJq(NgRM@<;fbJ=`k$XLkY00ng("
)
"""Columns `text` and `input_ids`; a histogram of the second has one entry too many."""


@pytest.mark.parametrize(
    ("read", "rc"),
    [("list(parquet_values(path, 'text'))", 0), ("read_parquet(path, ['text'])", 0), ("read_parquet(path)", 3)],
)
def test_a_damaged_column_does_not_end_the_process(read: str, rc: int, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(zlib.decompress(base64.b85decode(TABLE)))
    code = (
        "import sys; from pathlib import Path; from latentbench.kernel.parquet import parquet_values, read_parquet\n"
        "path = Path(sys.argv[1])\ntry:\n    {read}\nexcept (OSError, ValueError):\n    sys.exit(3)\n"
    ).replace("{read}", read)
    env = {"PYTHONPATH": str(Path(__file__).parents[2] / "bench")}
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, env=env, check=False, capture_output=True, encoding="utf-8", errors="replace")
    assert done.returncode == rc, done.stderr
