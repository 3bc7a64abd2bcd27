"""`edgeops package|publish|models|alias`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeops.cli.formula import formula, short
from edgeops.cli.output import ago, errors_shown, output_option, say, show_json, show_table, size
from edgeops.cli.settings import Settings
from edgeops.domain.errors import InvalidInput

MAX_DIGITS = 15
"""Of a size in bytes."""


@click.command()
@click.argument(
    "models", nargs=-1, required=True, metavar="MODEL...", type=click.Path(path_type=Path)
)
@click.option("--name", required=True, help="Name of the model in the registry.")
@click.option(
    "--profile", "profiles", multiple=True, required=True, help="Board class; may be repeated."
)
@click.option("--version", "number", type=int, help="Version number.  [default: the hub's next]")
@click.option(
    "--golden",
    type=click.Path(path_type=Path),
    help="Labelled rows (.npz with x and y): golden vectors, and the golden gate.",
)
@click.option("--min-accuracy", default=0.8, show_default=True, help="Bar of the golden gate.")
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    help="A precision (int8), a recipe's name or a .json file, once for each format; or auto, "
    "which searches one.  "
    "[default: as they are; float32 for Keras]",
)
@click.option(
    "--objective",
    type=click.Choice(["size", "latency", "accuracy"]),
    default="size",
    show_default=True,
    help="What --recipe auto searches for.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Rows (.npz with x) that int8 takes the ranges of activations from.",
)
@click.option(
    "--preprocessing",
    type=click.Path(path_type=Path),
    help="JSON file (scale, mean, std, shape, layout; image, audio or tabular): done to each row, "
    "here and on devices.",
)
@click.option(
    "--thresholds",
    metavar="NUMBERS",
    help="Confidence below which there is no class: 0.6, or one for each class joined by commas.",
)
@click.option(
    "--trust-code",
    is_flag=True,
    help="Take a model that runs code: Lambda layers, custom objects, types that skops distrusts.",
)
@click.option(
    "--evaluation",
    type=click.Path(path_type=Path),
    help="Held-out labelled rows (.npz): evidence, quality gate and reference profile.",
)
@click.option(
    "--metric",
    default="accuracy",
    show_default=True,
    help="What the quality gate looks at: accuracy, top-K, f1, auc, mae, rmse, MODULE:FUNCTION.",
)
@click.option(
    "--max-drop",
    default=0.02,
    show_default=True,
    help="What may be lost of it against the float model (upper end of the interval); of errors "
    "the share that they may grow by.",
)
@click.option(
    "--min-sqnr",
    default=8.0,
    show_default=True,
    help="Likeness of the scores to the float model's, in dB.",
)
@click.option(
    "--min-agreement",
    default=0.85,
    show_default=True,
    help="Share of the rows answered as the float model does.",
)
@click.option(
    "--waive",
    "waived",
    multiple=True,
    metavar="GATE",
    help="Waive: golden, quality, fidelity, effect, runtime, fit.",
)
@click.option("--reason", "reasons", multiple=True, help="Why it is waived; one for each --waive.")
@click.option("--labels", help="Class names, joined by commas.")
@click.option(
    "--chunk-size", default="60k", show_default=True, help="Size of a chunk over the air."
)
@click.option("--max-latency-ms", type=float, help="Budget on the device: p95 of one inference.")
@click.option("--max-memory-mib", type=float, help="Budget on the device: growth of memory.")
@click.option("--lineage", "lineage", multiple=True, metavar="KEY=VALUE", help="Data, code, run, …")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="OCI image layout folder.  [default: HOME/packages]",
)
@click.option(
    "--keys", type=click.Path(path_type=Path, file_okay=False), help="Key folder with targets.key."
)
@click.option(
    "--no-float-model",
    is_flag=True,
    help="Keep the float model to yourself: then nobody can make the artifacts again from the "
    "package.",
)
@click.option("--no-publish", is_flag=True, help="Only write the folder, even if a hub is known.")
@output_option
@click.pass_obj
@errors_shown
def package(
    settings: Settings, /, models: tuple[Path, ...], out: Path | None, **given: Any
) -> None:
    """Convert, evaluate, gate, package and sign MODEL; publish it if a hub is known.

    MODEL is a .tflite, .onnx, .keras, .h5 or .skops file or a SavedModel folder. A Keras model
    becomes a variant for each format that the profiles run, a scikit-learn model (.skops) an
    .onnx; several files (.tflite, .onnx) become variants of one version. The same inputs give
    the same digest everywhere.
    """
    from edgeops.packaging.gates.quality import FidelityBars
    from edgeops.packaging.request import PackageRequest
    from edgeops.packaging.rows.preprocessing import read_preprocessing
    from edgeops.packaging.rows.thresholds import parse_thresholds
    from edgeops.service.local import make_package

    steps = given["preprocessing"]
    preprocessing = read_preprocessing(steps) if steps is not None else None
    publishes = not given["no_publish"] and settings.hub_url() is not None
    number = given["number"]
    if number is None:
        number = settings.client().next_number(given["name"]) if publishes else 1
    request = PackageRequest(
        models=models,
        name=given["name"],
        version=number,
        profiles=given["profiles"],
        golden=given["golden"],
        evaluation=given["evaluation"],
        calibration=given["calibration"],
        preprocessing=preprocessing,
        thresholds=parse_thresholds(given["thresholds"]) if given["thresholds"] is not None else (),
        recipes=given["recipes"],
        objective=given["objective"],
        trust_code=given["trust_code"],
        cache=settings.home / "cache",
        keep_float=not given["no_float_model"],
        metric=given["metric"],
        max_drop=given["max_drop"],
        fidelity=FidelityBars(min_sqnr_db=given["min_sqnr"], min_agreement=given["min_agreement"]),
        min_accuracy=given["min_accuracy"],
        waivers=_waivers(given["waived"], given["reasons"]),
        labels=tuple(given["labels"].split(",")) if given["labels"] else (),
        chunk_bytes=parse_size(given["chunk_size"]),
        budget=_budget(given["max_latency_ms"], given["max_memory_mib"]),
        lineage=_lineage(given["lineage"]),
    )
    folder = out or settings.home / "packages"
    built = make_package(request, given["keys"] or settings.keys, folder, say)
    say(f"wrote {request.name}:{number} to {folder}")
    if publishes:
        _upload(settings, built)
        say(f"published to {settings.hub_url()}")
    _show_built(built, folder, given["output"])


@click.command()
@click.argument("layout", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--ref", help="Which package of the folder, e.g. kws:2.  [default: the only one]")
@click.pass_obj
@errors_shown
def publish(settings: Settings, layout: Path, ref: str | None) -> None:
    """Publish a package from an OCI layout folder to the hub."""
    from edgeops.packaging.oci.layout import read_layout

    built = read_layout(layout, ref)
    _upload(settings, built)
    say(f"published {built.manifest.model}:{built.manifest.version} to {settings.hub_url()}")


@click.group()
def models() -> None:
    """Look at models and their versions."""


@models.command("list")
@output_option
@click.pass_obj
@errors_shown
def list_models(settings: Settings, output: str) -> None:
    """List models."""
    found = settings.client().models()
    if output == "json":
        show_json(found)
        return
    rows = [
        (
            each["model"],
            each["latest"],
            each["versions"],
            ", ".join(f"{a['alias']}→{a['version']}" for a in each["aliases"]),
        )
        for each in found
    ]
    show_table(("MODEL", "LATEST", "VERSIONS", "ALIASES"), rows, "no models yet: edgeops package")


@models.command("show")
@click.argument("reference")
@output_option
@click.pass_obj
@errors_shown
def show_model(settings: Settings, reference: str, output: str) -> None:
    """Show a version: NAME:NUMBER, NAME@ALIAS, or NAME for the newest."""
    found = settings.client().version(reference)
    if output == "json":
        show_json(found)
        return
    say(f"{found['reference']}  {found['digest']}")
    say(f"published {ago(found['created_s'])} ago by {found['created_by']}")
    for waiver in found["waivers"]:
        say(f"waived: {waiver['gate']} ({waiver['reason']})")
    preprocessing = found["manifest"].get("preprocessing")  # an older hub does not say
    if preprocessing:
        say(f"preprocessing: {formula(preprocessing)}")
    if thresholds := found["manifest"].get("thresholds"):
        say(f"thresholds: {short(thresholds)}")
    rows = [
        (
            ", ".join(variant["profiles"]),
            variant["runtime"],
            size(variant["artifact"]["size_bytes"]),
            variant["golden_accuracy"],
        )
        for variant in found["manifest"]["variants"]
    ]
    show_table(("PROFILES", "RUNTIME", "SIZE", "GOLDEN ACCURACY"), rows)
    show_table(("LINEAGE", ""), sorted(found["lineage"].items()))


@click.group()
def alias() -> None:
    """Move names like kws@production from version to version."""


@alias.command("set")
@click.argument("model")
@click.argument("name")
@click.argument("version", type=int)
@click.option("--if-revision", type=int, help="Only if the alias has this revision (0: is new).")
@click.pass_obj
@errors_shown
def set_alias(
    settings: Settings, model: str, name: str, version: int, if_revision: int | None
) -> None:
    """Point MODEL@NAME at VERSION."""
    moved = settings.client().set_alias(model, name, version, if_revision)
    say(f"{model}@{name} is {model}:{moved['version']} (revision {moved['revision']})")


def _upload(settings: Settings, built: Any) -> None:
    from edgeops.service.worker import upload

    with settings.client() as hub:
        upload(hub, built, say)


def _show_built(built: Any, folder: Path, output: str) -> None:
    manifest = built.manifest
    if output == "json":
        show_json(
            {
                "reference": f"{manifest.model}:{manifest.version}",
                "digest": built.digest,
                "folder": str(folder),
                "variants": [
                    {
                        "profiles": list(variant.profiles),
                        "runtime": variant.runtime,
                        "size_bytes": variant.artifact.ref.size_bytes,
                        "golden_accuracy": variant.golden_accuracy,
                    }
                    for variant in manifest.variants
                ],
                "waivers": [waiver.to_document() for waiver in manifest.waivers],
            }
        )
        return
    rows = [
        (
            ", ".join(variant.profiles),
            variant.runtime,
            size(variant.artifact.ref.size_bytes),
            variant.artifact.ref.count,
            "" if variant.golden_accuracy is None else f"{variant.golden_accuracy:.3f}",
        )
        for variant in manifest.variants
    ]
    show_table(("PROFILES", "RUNTIME", "SIZE", "CHUNKS", "GOLDEN ACCURACY"), rows)
    click.echo(f"{manifest.model}:{manifest.version} {built.digest}")


def _waivers(gates: tuple[str, ...], reasons: tuple[str, ...]) -> tuple[Any, ...]:
    from device_agent.protocol.manifest import Waiver

    if len(gates) != len(reasons) or not all(reasons):
        raise InvalidInput(
            "each --waive needs a --reason", next_step="--waive golden --reason 'why this is fine'"
        )
    return tuple(Waiver(gate=g, reason=r) for g, r in zip(gates, reasons, strict=True))


def _budget(latency_ms: float | None, memory_mib: float | None) -> Any:
    from device_agent.protocol.manifest import Budget

    if latency_ms is None and memory_mib is None:
        return None  # the strictest budget of the profiles holds
    return Budget(latency_ms_p95=latency_ms, memory_mib=memory_mib)


def _lineage(texts: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if any(not key or not equals for key, equals, _ in pairs):
        raise InvalidInput("lineage is KEY=VALUE", next_step="for example --lineage code=3f2a9c1")
    return {key: value for key, _, value in pairs}


def parse_size(text: str) -> int:
    """Read ``60k`` (KiB) or ``4096`` as bytes.

    Raises:
        InvalidInput: another form.
    """
    number, factor = (text[:-1], 1024) if text[-1:] in ("k", "K") else (text, 1)
    if not number.isascii() or not number.isdigit() or len(number) > MAX_DIGITS:
        raise InvalidInput(f"{text[:40]!r} is no size", next_step="write bytes, or KiB as in 60k")
    return int(number) * factor
