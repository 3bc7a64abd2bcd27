"""From an order to a proved package on the disk: the acts before anything of it is run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from device_agent.core import admission
from device_agent.core.deployment import Deployment, Happened
from device_agent.core.records import ModelRecord
from device_agent.protocol.errors import ModelRefused, ProtocolError, StorageFailed
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.manifest import MAX_MANIFEST_BYTES, Manifest, Variant
from device_agent.protocol.reasons import Reason
from device_agent.shell import packages, room
from device_agent.shell.blobs import (
    BlobDownload,
    Download,
    ManifestDownload,
    blob_path,
    discard,
)
from device_agent.shell.fetch import Fetcher
from device_agent.shell.outcome import CORRUPT, DONE, Outcome
from device_agent.shell.packages import Host
from device_agent.shell.storage import Storage
from device_agent.shell.trust import Trust

logger = logging.getLogger(__name__)


class Acquisition:
    """Fetches and proves packages. Used by the loop thread only."""

    def __init__(
        self,
        storage: Storage,
        *,
        host: Host,
        trust: Trust,
        fetcher: Fetcher,
        records: Callable[[], Mapping[ModelName, ModelRecord]],
    ) -> None:
        """Take the hands that the acts need; ``records`` gives those of every model here."""
        self._storage = storage
        self._host = host
        self._trust = trust
        self._fetcher = fetcher
        self._records = records
        self._fetching: dict[ModelName, dict[Digest, Download]] = {}

    def fetch_manifest(self, record: ModelRecord, deployment: Deployment, now_s: float) -> Outcome:
        """Begin to fetch the manifest, unless it lies here already."""
        ref = deployment.order.manifest
        if ref.size_bytes > MAX_MANIFEST_BYTES:
            raise ModelRefused(
                Reason.MALFORMED_MANIFEST, f"manifest of {ref.size_bytes} bytes is too large"
            )
        if packages.has_blob(self._storage, ref.digest):
            return record, self._admit_manifest(deployment)
        self._start_fetching(deployment, [ManifestDownload(self._storage, ref)], now_s)
        return record, None

    def look_at_manifest(
        self, record: ModelRecord, deployment: Deployment, now_s: float
    ) -> Happened | None:
        """Tell whether the manifest came, and whether it is signed."""
        download = self._fetching.get(deployment.model, {}).get(deployment.digest)
        if download is None or not all(download.have):
            return None
        self.stop(deployment.model)
        if not download.finish():
            return replace(CORRUPT, detail="the manifest does not have its digest")
        return self._admit_manifest(deployment)

    def _admit_manifest(self, deployment: Deployment) -> Happened:
        """Trust, then read: nothing of what is not signed is looked at."""
        data = self._storage.read(blob_path(deployment.digest)) or b""
        self._trust.check_package(data, deployment.order)
        try:
            Manifest.from_bytes(data)
        except ProtocolError as error:
            raise ModelRefused(Reason.MALFORMED_MANIFEST, str(error)) from error
        return DONE

    def check_room(self, record: ModelRecord, deployment: Deployment, now_s: float) -> Outcome:
        """Check the package against this device: agent, profile, runtime, disk."""
        self.read_variant(deployment)
        others = [each for name, each in self._records().items() if name != record.name]
        room.check_room(self._storage, self._host, record, others)
        return record, DONE

    def _variant(self, manifest: Manifest, deployment: Deployment) -> Variant:
        return admission.check_manifest(
            manifest,
            model=deployment.model,
            version=deployment.order.version,
            profile=self._host.profile,
            runtimes=self._host.machine.runtimes,
            agent_version=self._host.agent_version,
        )

    def read_variant(self, deployment: Deployment) -> tuple[Manifest, Variant]:
        """Return the manifest and the variant for this device.

        Raises:
            ModelRefused: it cannot be read, or has no variant for this device.
        """
        manifest = packages.read_manifest(self._storage, deployment.digest)
        if manifest is None:
            raise ModelRefused(Reason.STORAGE_FAILED, "the fetched manifest cannot be read again")
        return manifest, self._variant(manifest, deployment)

    def fetch_blobs(self, record: ModelRecord, deployment: Deployment, now_s: float) -> Outcome:
        """Begin to fetch the blobs that do not lie here already."""
        _, variant = self.read_variant(deployment)
        missing: list[Download] = []
        for blob in variant.blobs:
            if not packages.has_blob(self._storage, blob.ref.digest):
                self._storage.remove(blob_path(blob.ref.digest))  # a damaged one
                missing.append(BlobDownload(self._storage, blob))
        self._start_fetching(deployment, missing, now_s)
        return record, None if missing else DONE

    def look_at_fetch(
        self, record: ModelRecord, deployment: Deployment, now_s: float
    ) -> Happened | None:
        """Tell whether every blob came."""
        downloads = self._fetching.get(deployment.model, {})
        for digest in downloads:
            failed = self._fetcher.failure_of(digest)
            if failed is not None:
                raise failed
        if not all(all(each.have) for each in downloads.values()):
            return None
        for download in downloads.values():
            download.flush(now_s)  # so that what is verified next survives a power cut
        return DONE

    def verify_blobs(self, record: ModelRecord, deployment: Deployment, now_s: float) -> Outcome:
        """Prove every blob as a whole and move it in among the blobs."""
        _, variant = self.read_variant(deployment)
        self.stop(deployment.model, flush_at_s=now_s)
        for blob in variant.blobs:
            if packages.has_blob(self._storage, blob.ref.digest):
                continue
            self._storage.remove(blob_path(blob.ref.digest))
            download = BlobDownload(self._storage, blob)
            if not all(download.have) or not download.finish():
                return record, replace(CORRUPT, detail=f"{blob.ref.digest} is not what was signed")
        return record, DONE

    def progress(self, name: ModelName) -> tuple[int, int]:
        """Return how many chunks are there of how many, over the running downloads."""
        downloads = self._fetching.get(name, {}).values()
        return sum(sum(each.have) for each in downloads), sum(len(each.have) for each in downloads)

    def make_room(self) -> None:
        """Give up every partial download on the disk: the journal needs the space more."""
        for name, downloads in list(self._fetching.items()):
            if any(isinstance(each, ManifestDownload) for each in downloads.values()):
                continue  # in memory, and waited for
            for digest in self.stop(name):
                try:
                    discard(self._storage, digest)
                except StorageFailed as error:
                    logger.warning("discard.failed", extra={"cause": str(error)})

    def _start_fetching(
        self, deployment: Deployment, downloads: Sequence[Download], now_s: float
    ) -> None:
        self.stop(deployment.model)
        self._fetching[deployment.model] = {
            each.ref.digest: self._fetcher.start(each, now_s) for each in downloads
        }

    def stop(self, name: ModelName, *, flush_at_s: float | None = None) -> list[Digest]:
        """Leave the downloads of a model; what was fetched stays on the disk."""
        downloads = self._fetching.pop(name, {})
        for digest in downloads:  # first: a disk that refuses must not leave one running
            self._fetcher.stop(digest)
        if flush_at_s is not None:
            for download in downloads.values():
                download.flush(flush_at_s)
        return list(downloads)
