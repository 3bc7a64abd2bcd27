"""The table of parsers: all that reads bytes or documents from outside. A new one is a line.

Left out is what only reads what this program itself wrote into its database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from device_agent.cli import _read_rows
from device_agent.core.records import ModelRecord
from device_agent.processing.golden import decode_golden
from device_agent.protocol import envelope, topics
from device_agent.protocol.chunks import decode_chunk
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.enrolment import Enrolment, parse_broker
from device_agent.protocol.errors import BadInput, ProtocolError
from device_agent.protocol.errors import NotTrusted as AgentNotTrusted
from device_agent.protocol.items import Numbered
from device_agent.protocol.manifest import Manifest
from device_agent.protocol.orders import Ack, Command, Desired, Epoch
from device_agent.protocol.reference import ReferenceProfile
from device_agent.protocol.reports import Need, Reported
from device_agent.protocol.root import Root, pinned_root
from device_agent.runtimes.probe_report import ProbeReport, ProbeSpec
from device_agent.shell import commands, identity, journal, packages
from device_agent.shell.trust import verify_ed25519
from edgeops.cli.hub import parse_bandwidth
from edgeops.cli.packages import parse_size
from edgeops.domain.errors import EdgeopsError
from edgeops.domain.fleet import parse_labels
from edgeops.domain.registry import parse_reference
from edgeops.fleet import selector
from edgeops.integrations.oci_registry import credentials
from edgeops.integrations.oci_registry.address import parse_address
from edgeops.integrations.oci_registry.challenge import parse_challenges
from edgeops.packaging.convert.job import Job, Report
from edgeops.packaging.convert.keras_archive import check_keras_archive, check_keras_config
from edgeops.packaging.convert.skops_archive import check_skops_archive
from edgeops.packaging.convert.source import SourceKind, read_source
from edgeops.packaging.files.inspect import format_of
from edgeops.packaging.files.onnx_header import read_onnx_header
from edgeops.packaging.oci.manifest import OciManifest
from edgeops.packaging.recipes import read_recipe
from edgeops.packaging.record.anatomy import Anatomy
from edgeops.packaging.record.build_record import BUILD_RECORD, BuildRecord
from edgeops.packaging.record.measured import Measured
from edgeops.packaging.rows.golden_rows import read_golden_rows
from edgeops.packaging.rows.preprocessing import read_preprocessing
from edgeops.retraining.rows import read_rows
from tests import agent_values as valid
from tests.fuzz import api_requests, readers, seeds
from tests.fuzz.check import MIB, Bound, Spoiler, Target
from tests.fuzz.readers import (
    Parse,
    file,
    inbox,
    inbox_payloads,
    layout_parts,
    layout_with,
    state,
    text,
)
from tests.fuzz.spoil_bytes import spoil_bytes, spoil_text
from tests.fuzz.spoil_json import spoil_json
from tests.fuzz.spoil_models import spoil_onnx, spoil_tflite
from tests.fuzz.spoil_toml import spoil_toml
from tests.fuzz.spoil_zip import spoil_zip

Refusals = tuple[type[Exception], ...]
Seeds = Callable[[], Sequence[bytes]]

OF_AGENT: Refusals = (ProtocolError, AgentNotTrusted)
OF_HUB: Refusals = (EdgeopsError,)
OF_BOTH: Refusals = (*OF_AGENT, *OF_HUB)
NEVER: Refusals = ()
"""Of what may not refuse, but counts or leaves out what is wrong."""
UNPACKED = Bound(per_byte=256, spare_bytes=80 * MIB)
"""Archives may unpack to 64 MiB however small they are, and beyond to 200 times their size."""

OWN_ROWS = Bound(spare_bytes=1 << 62)
"""Rows that somebody feeds to a model on his own device: as many as he has memory for. (What numpy
asked for and did not get is counted too, so the worker's own limit is what holds here.)"""
REQUEST = Bound(spare_bytes=16 * MIB)
"""The API makes threads, and remembers compiled statements."""
CHILD = Bound(spare_bytes=48 * MIB)
"""A child's report may have 32 MiB; the child itself may take more, of its own."""


def _document(message: Any, *valid_ones: dict[str, Any]) -> tuple[Parse, Seeds]:
    made = tuple(encode(each) for each in valid_ones)
    return (lambda data: message(decode(data))), (lambda: made)


def _numbered(kind: str) -> Parse:
    return lambda data: Numbered.from_document(decode(data), kind)


def _target(
    name: str,
    parse: Parse,
    seeds_of: Seeds,
    spoil: Spoiler = spoil_json,
    refusals: Refusals = OF_AGENT,
    **options: Any,
) -> Target:
    return Target(name=name, parse=parse, seeds=seeds_of, spoil=spoil, refusals=refusals, **options)


_PROTOCOL = (
    _target("desired", *_document(Desired.from_document, valid.desired().to_document())),
    _target("command", *_document(Command.from_document, valid.command().to_document())),
    _target("ack", *_document(Ack.from_document, valid.ack().to_document())),
    _target("epoch", *_document(Epoch.from_document, valid.epoch().to_document())),
    _target("reported", *_document(Reported.from_document, valid.reported().to_document())),
    _target("need", *_document(Need.from_document, valid.need().to_document())),
    _target("record", *_document(ModelRecord.from_document, valid.full_record().to_document())),
    _target("event", _numbered("event"), lambda: (encode(valid.numbered().to_document()),)),
    _target("outcome", _numbered("outcome"), seeds.outcomes),
    _target("telemetry", _numbered("telemetry"), seeds.telemetry),
    _target("sample", _numbered("sample"), seeds.samples),
    _target("manifest", Manifest.from_bytes, seeds.manifests),
    _target("reference", ReferenceProfile.from_bytes, seeds.references),
    _target("golden", decode_golden, seeds.goldens),
    _target(
        "envelope", lambda data: envelope.read(data, envelope.PAYLOAD_ROOT), seeds.root_envelopes
    ),
    _target("root", Root.from_bytes, lambda: (seeds.keys().root.to_bytes(),)),
    _target("pinned-root", lambda data: pinned_root(data, verify_ed25519), seeds.root_envelopes),
    _target("enrolment", Enrolment.from_bytes, seeds.enrolments),
    _target("probe-spec", ProbeSpec.from_bytes, seeds.probe_specs),
    _target("probe-report", ProbeReport.from_bytes, seeds.probe_reports),
    _target("codec", decode, seeds.manifests, spoil_text),
    _target("chunk", decode_chunk, seeds.chunks, spoil_bytes),
    _target("topic-up", text(topics.parse_up), seeds.topics_up, spoil_text),
    _target(
        "topic-down",
        text(lambda topic: topics.parse_down(topic, valid.DEVICE)),
        seeds.topics_down,
        spoil_text,
    ),
    _target(
        "broker",
        text(parse_broker),
        lambda: seeds.lines("mqtt://host:1883", "mqtts://[::1]:8883"),
        spoil_text,
    ),
    _target(
        "command-log",
        state(commands.COMMANDS_PATH, commands.CommandLog),
        seeds.command_logs,
        refusals=NEVER,
    ),
    _target(
        "journal",
        state(f"models/{valid.MODEL}/record.json", journal.load_records),
        lambda: (encode(valid.full_record().to_document()),),
        refusals=NEVER,
    ),
    _target(
        "kept-counts",
        state(
            f"models/{valid.MODEL}/counts-A.json",
            lambda storage: packages.load_counts(storage, valid.MODEL, "A"),
        ),
        seeds.kept_counts,
        refusals=NEVER,
    ),
    _target(
        "session",
        state(identity.SESSION_PATH, lambda storage: identity.Sessions(storage).next()),
        lambda: seeds.lines("17"),
        spoil_text,
        NEVER,
    ),
    _target(
        "device-rows",
        file(_read_rows, "rows.npz"),
        seeds.row_files,
        spoil_zip,
        (BadInput,),
        bound=OWN_ROWS,
        count=40,
    ),
)

_PACKAGING = (
    _target(
        "oci-manifest", OciManifest.from_bytes, lambda: (layout_parts()["oci"],), refusals=OF_HUB
    ),
    *(
        _target(
            f"layout-{part.partition('.')[0]}",
            layout_with(part),
            lambda part=part: (layout_parts()[part],),
            refusals=OF_HUB,
            count=300,
        )
        for part in ("index", "oci", "edgeops.json", "signature.json", BUILD_RECORD)
    ),
    _target("build-record", BuildRecord.from_bytes, seeds.build_records, refusals=OF_HUB),
    _target("measured", Measured.from_bytes, seeds.measured, refusals=OF_HUB),
    _target("anatomy", Anatomy.from_bytes, seeds.anatomies, refusals=OF_HUB),
    _target("recipe", file(read_recipe, "recipe.json"), seeds.recipe_files, refusals=OF_HUB),
    _target("job", Job.from_bytes, seeds.jobs, refusals=OF_BOTH),
    _target("report", Report.from_bytes, seeds.reports, refusals=OF_BOTH),
    _target(
        "preprocessing",
        file(read_preprocessing, "preprocessing.json"),
        seeds.preprocessing_files,
        refusals=OF_HUB,
    ),
    _target("profile", readers.profile_folder, seeds.profiles, spoil_toml, OF_HUB),
    _target("metrics", readers.metrics, lambda: (b'{"accuracy":0.5,"loss":0.1}',), refusals=OF_HUB),
    _target(
        "golden-rows",
        file(read_golden_rows, "rows.npz"),
        seeds.row_files,
        spoil_zip,
        OF_HUB,
        bound=UNPACKED,
        count=800,
    ),
    _target(
        "rows",
        lambda data: read_rows(data, "rows"),
        seeds.row_files,
        spoil_zip,
        OF_HUB,
        bound=UNPACKED,
        count=800,
    ),
    _target(
        "keras-archive",
        lambda data: check_keras_archive(data, Path("model.keras"), trust_code=False),
        seeds.keras_files,
        spoil_zip,
        OF_HUB,
        bound=UNPACKED,
        count=800,
    ),
    _target(
        "skops-archive",
        lambda data: check_skops_archive(data, Path("model.skops")),
        seeds.skops_files,
        spoil_zip,
        OF_HUB,
        bound=UNPACKED,
        count=150,
    ),
    _target(
        "onnx-header",
        lambda data: read_onnx_header(data, "x"),
        seeds.onnx_files,
        spoil_bytes,
        OF_HUB,
    ),
    _target(
        "keras-config",
        lambda data: check_keras_config(data, "model.h5"),
        seeds.keras_configs,
        refusals=OF_HUB,
    ),
    _target(
        "format", lambda data: format_of(data or b"\0", "x"), seeds.onnx_files, spoil_bytes, OF_HUB
    ),
    _target(
        "source",
        file(lambda path: read_source(path, trust_code=False), "model"),
        seeds.model_files,
        spoil_bytes,
        OF_HUB,
    ),
)

_HUB = (
    *(
        _target(
            f"inbox-{kind}",
            inbox(kind),
            lambda kind=kind: inbox_payloads(kind),
            refusals=NEVER,
            count=300,
        )
        for kind in topics.UP_KINDS
    ),
    _target(
        "reference-name",
        text(parse_reference),
        lambda: seeds.lines("kws:2", "kws@a", "kws"),
        spoil_text,
        OF_HUB,
    ),
    _target(
        "selector",
        text(selector.parse),
        lambda: seeds.lines("site=oslo,camera!=x,y", "all"),
        spoil_text,
        OF_HUB,
    ),
    _target(
        "oci-address",
        text(parse_address),
        lambda: seeds.lines("oci://localhost:5000/models/kws:1", f"oci://[::1]/a@{valid.digest()}"),
        spoil_text,
        OF_HUB,
    ),
    _target(
        "labels",
        text(lambda label: parse_labels((label,))),
        lambda: seeds.lines("site=oslo", "site="),
        spoil_text,
        OF_HUB,
    ),
    _target("size", text(parse_size), lambda: seeds.lines("60k", "4096"), spoil_text, OF_HUB),
    _target(
        "bandwidth",
        text(parse_bandwidth),
        lambda: seeds.lines("500k", "2.5M"),
        spoil_text,
        (click.BadParameter,),
    ),
    _target(
        "challenge",
        text(lambda header: parse_challenges([header])),
        lambda: seeds.lines('Bearer realm="https://a/t",service="s",scope="r:p:pull", Basic x=y'),
        spoil_text,
        NEVER,
    ),
    _target(
        "docker-config",
        file(lambda path: credentials.stored(path, "r.test"), "config.json"),
        seeds.docker_configs,
        refusals=OF_HUB,
    ),
    _target("hub-answer", readers.hub_answer, seeds.hub_answers, refusals=OF_HUB, count=300),
    _target(
        "api", api_requests.ask, api_requests.requests, refusals=NEVER, bound=REQUEST, count=300
    ),
    _target("registry", readers.registry, seeds.registry_answers, refusals=OF_HUB, count=150),
)

_NATIVE = (
    *(
        _target(
            f"{kind}-{what}", read(kind), seeds_of, spoil, OF_HUB, bound=CHILD, count=40, forks=True
        )
        for kind, seeds_of, spoil in (
            (SourceKind.TFLITE, seeds.tflite_files, spoil_tflite),
            (SourceKind.ONNX, seeds.onnx_files, spoil_onnx),
        )
        for what, read in (("anatomy", readers.examined), ("bench", readers.laid_out))
    ),
)

TARGETS: dict[str, Target] = {
    each.name: each for each in (*_PROTOCOL, *_PACKAGING, *_HUB, *_NATIVE)
}
"""Every parser by its name."""
