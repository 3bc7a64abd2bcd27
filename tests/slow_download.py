"""``python -m tests.slow_download FOLDER``: a download to be killed; prints each chunk's number."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from device_agent.protocol.chunks import decode_chunk, encode_chunk
from device_agent.protocol.manifest import Manifest
from device_agent.shell.blobs import BlobDownload
from device_agent.shell.storage import FolderStorage

folder = Path(sys.argv[1])
blob = Manifest.from_bytes((folder / "manifest").read_bytes()).variants[0].artifact
data = (folder / "artifact").read_bytes()
download = BlobDownload(FolderStorage(folder / "state"), blob)
for index in range(blob.ref.count):
    piece = data[index * blob.ref.chunk_bytes : (index + 1) * blob.ref.chunk_bytes]
    download.accept(decode_chunk(encode_chunk(blob.ref, index, piece)), time.monotonic())
    print(index, flush=True)
    time.sleep(0.001)
