"""`bench view`: a run, a study or published rows as pages to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.views.terminal import say


def view(
    shown: Annotated[
        Path,
        typer.Argument(metavar="RUN|STUDY|LEADERBOARDS", help="Folder of a run, of runs, or of published results."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the site; `site` inside the shown folder by default.")
    ] = None,
    suite: Annotated[
        Path | None,
        typer.Option(help="Folder of the suite, for the windows; else it is looked for as the run names it."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare the site with the tables, byte for byte.")
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the site on 127.0.0.1, and follow a run while it goes on.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of --serve; 0 for any that is free.")] = 0,
) -> None:
    """Show a run, a study or leaderboards as pages.

    The site is a folder: index.html opens from disk, without a server, and asks nothing of the network.
    """
    from latentbench.site.site_files import site_files
    from latentbench.site.site_folder import check_site, write_site
    from latentbench.site.site_server import FollowedSite, SiteServer
    from latentbench.site.site_target import site_target

    target = site_target(shown)
    folder = out or shown / "site"
    if check:
        held = check_site(site_files(target, suite), folder, f"bench view {shown} --out {folder}")
        say(f"{held.index} is what the tables give ({held.files:,} files)")
        return
    if not serve:
        written = write_site(site_files(target, suite), folder)
        say(f"written: {written.index} ({written.files:,} files, {written.size / 1e6:.1f} MB)")
        return
    site = FollowedSite(target, folder, suite)
    if not target.going_on:
        site.write()
    with SiteServer(site, port) as server:
        say(f"look at it: {server.address} (Ctrl-C stops the server)")
        server.serve_forever()
