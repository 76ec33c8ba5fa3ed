"""`tinytl submit`: run a sweep on other machines."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import make_console
from tinytl.errors import ConfigError


def submit(
    file: Annotated[
        str | None, typer.Argument(help="A sweep file, or the name of one that is shipped.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Put in place of what the file says."),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="URL", help="Of a running Ray cluster: http://HOST:8265.")
    ] = None,
    kuberay: Annotated[bool, typer.Option("--kuberay", help="As a RayJob of Kubernetes.")] = False,
    slurm: Annotated[bool, typer.Option("--slurm", help="As a batch job of Slurm.")] = False,
    ray_up: Annotated[
        bool, typer.Option("--ray-up", help="On machines that Ray's cluster launcher starts.")
    ] = False,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The cluster's settings.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trials of each dataset.", min=1)] = None,
    data: Annotated[
        str | None, typer.Option(help="Root of the datasets, as the nodes see it.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Directory of weights files, as the nodes see it.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(help="The sweep's directory on shared storage [STORAGE/runs/NAME]."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where files for the cluster are written [submit/NAME].")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the files and run nothing.")
    ] = False,
    print_settings: Annotated[
        bool, typer.Option("--print-settings", help="Show all settings and their defaults.")
    ] = False,
) -> None:
    """Run a sweep on a cluster; a sweep that is in --out already goes on."""
    # slow to import, and not needed to list the options
    from orchestrator.cluster import Job, Submission, default_settings_text, load_settings
    from orchestrator.cluster.kuberay import on_kuberay
    from orchestrator.cluster.ray_job import on_cluster
    from orchestrator.cluster.ray_up import on_machines
    from orchestrator.cluster.slurm import on_slurm
    from orchestrator.spec import load_spec

    if print_settings:
        typer.echo(default_settings_text(), nl=False)
        return
    if file is None:
        raise ConfigError("FILE: required, but missing; give a sweep file, or the name of one")
    known = load_settings(settings)
    there = None if data is None else Path(data)
    spec = load_spec(file, overrides or (), trials=trials, data=there)
    job = Job(spec, out or f"{known.storage}/runs/{spec.name}", data, weights)
    place = folder or Path("submit") / spec.name
    ways: dict[str, Callable[[], Submission]] = {}
    if cluster is not None:
        ways["--cluster"] = lambda: on_cluster(job, cluster)
    if kuberay:
        ways["--kuberay"] = lambda: on_kuberay(job, known)
    if slurm:
        ways["--slurm"] = lambda: on_slurm(job, known)
    if ray_up:
        ways["--ray-up"] = lambda: on_machines(job, known, place)
    if len(ways) != 1:
        raise ConfigError(
            "give one of --cluster, --kuberay, --slurm and --ray-up, but got "
            f"{' and '.join(ways) or 'none'}"
        )
    (make,) = ways.values()
    console = make_console()
    make().run(place, console, dry_run=dry_run)
