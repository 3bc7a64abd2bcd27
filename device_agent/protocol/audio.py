"""Sound as data: how a window of samples becomes log-mel features or MFCCs.

In double precision and in this order, rounded to float32 at the end::

    s = samples / full_scale
    f = frames of s: frame_length samples each, frame_step apart, only whole ones
    p = |DFT of size fft_size of f * window|², or its root for ``magnitude``
    m = p · bank                              one triangle of the bank for each mel bin
    y = ln(max(m + log_offset, log_floor))
    z = the first ``coefficients`` of the orthonormal DCT-II of y; y itself without

``window`` is the periodic Hann window, 0.5 - 0.5 cos(2πn / frame_length), or none. Frames are
padded with zeros at their end up to ``fft_size``.

The bank has ``mel_bins`` triangles from 0 to 1 and back, whose corners are evenly spaced in mel
between ``lower_hz`` and ``upper_hz``. Mel is

``htk``     2595 log10(1 + f / 700): S. Young et al., The HTK Book 3.4, 2006, section 5.4
``slaney``  f · 3 / 200 below 1000 Hz, above it 15 + 27 ln(f / 1000) / ln 6.4: M. Slaney, Auditory
            Toolbox, Technical Report 1998-010, Interval Research

``triangles`` says on which axis their sides are straight: ``hz`` as in librosa and torchaudio,
``mel`` as in HTK and TensorFlow (``tf.signal.linear_to_mel_weight_matrix``). ``normalization``
``area`` divides each by half its width in Hz, as librosa does.
"""

from __future__ import annotations

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.values import dataclass

HANN = "hann"
NONE = "none"
WINDOWS = (HANN, NONE)
POWER = "power"
MAGNITUDE = "magnitude"
SPECTRA = (POWER, MAGNITUDE)
HTK = "htk"
SLANEY = "slaney"
MEL_SCALES = (HTK, SLANEY)
HZ = "hz"
MEL = "mel"
TRIANGLES = (HZ, MEL)
AREA = "area"
NORMALIZATIONS = (NONE, AREA)
LOG_FLOOR = 1e-10
MIN_LEVEL = 1e-30
MAX_LEVEL = 1e12
"""Of ``full_scale``, ``log_offset`` and ``log_floor``; the floor keeps logarithms finite."""
MAX_RATE_HZ = 1e6
MAX_FFT_SIZE = 1 << 14
MAX_MEL_BINS = 256
MAX_SAMPLES = 1 << 22
MAX_SPECTRUM_ELEMENTS = 1 << 22
"""Frames times ``fft_size``: 32 MiB in double precision, held twice for a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioStep:
    """What is done to a window of samples; the formulas are in the module's docstring.

    Attributes:
        sample_rate_hz: samples in a second.
        frame_length: samples of one frame.
        frame_step: samples from the start of one frame to the start of the next.
        mel_bins: triangles of the filter bank.
        fft_size: samples that the DFT takes, at least ``frame_length``.
        full_scale: the sample that counts as 1: 32768 for 16-bit PCM.
        window: ``hann`` or ``none``.
        spectrum: ``power`` or ``magnitude``.
        mel_scale: ``htk`` or ``slaney``.
        triangles: the axis on which their sides are straight, ``hz`` or ``mel``.
        normalization: ``none``, or ``area``.
        lower_hz: where the first triangle begins.
        upper_hz: where the last one ends, at most half the sample rate.
        log_offset: added before the logarithm.
        log_floor: the least that the logarithm is taken of.
        coefficients: of the DCT-II; 0 leaves the log-mel features.
    """

    sample_rate_hz: float
    frame_length: int
    frame_step: int
    mel_bins: int
    fft_size: int
    upper_hz: float
    full_scale: float = 1.0
    window: str = HANN
    spectrum: str = POWER
    mel_scale: str = HTK
    triangles: str = HZ
    normalization: str = NONE
    lower_hz: float = 0.0
    log_offset: float = 0.0
    log_floor: float = LOG_FLOOR
    coefficients: int = 0

    @property
    def features(self) -> int:
        """How many numbers a frame becomes."""
        return self.coefficients or self.mel_bins

    def frames_of(self, samples: int) -> int:
        """Return how many whole frames there are in so many samples."""
        return max(0, 1 + (samples - self.frame_length) // self.frame_step)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return frames and features of what it makes of a row of ``shape``."""
        return (self.frames_of(shape[0]), self.features)

    def to_document(self) -> dict[str, object]:
        """Return the JSON form, with every field."""
        return {
            "sample_rate_hz": float(self.sample_rate_hz),
            "full_scale": float(self.full_scale),
            "frame_length": self.frame_length,
            "frame_step": self.frame_step,
            "window": self.window,
            "fft_size": self.fft_size,
            "spectrum": self.spectrum,
            "mel_bins": self.mel_bins,
            "mel_scale": self.mel_scale,
            "triangles": self.triangles,
            "normalization": self.normalization,
            "lower_hz": float(self.lower_hz),
            "upper_hz": float(self.upper_hz),
            "log_offset": float(self.log_offset),
            "log_floor": float(self.log_floor),
            "coefficients": self.coefficients,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> AudioStep:
        """Read the JSON form.

        ``sample_rate_hz``, ``frame_length``, ``frame_step`` and ``mel_bins`` must be there. Without
        ``fft_size`` it is the least power of two that holds a frame, without ``upper_hz`` half
        the sample rate; the others have the defaults of this class.

        Raises:
            ProtocolError: a wrong type or range, or an unknown word; the message names the field.
        """
        given = _Given(fields)
        rate_hz = fields.number("sample_rate_hz", minimum=1.0, maximum=MAX_RATE_HZ)
        length = fields.integer("frame_length", minimum=1, maximum=MAX_FFT_SIZE)
        bins = fields.integer("mel_bins", minimum=1, maximum=MAX_MEL_BINS)
        enough = 1 << (length - 1).bit_length()
        step = cls(
            sample_rate_hz=rate_hz,
            frame_length=length,
            frame_step=fields.integer("frame_step", minimum=1, maximum=MAX_SAMPLES),
            mel_bins=bins,
            fft_size=given.integer("fft_size", enough, length, MAX_FFT_SIZE),
            full_scale=given.number("full_scale", 1.0, 1 / MAX_LEVEL, MAX_LEVEL),
            window=given.word("window", WINDOWS),
            spectrum=given.word("spectrum", SPECTRA),
            mel_scale=given.word("mel_scale", MEL_SCALES),
            triangles=given.word("triangles", TRIANGLES),
            normalization=given.word("normalization", NORMALIZATIONS),
            lower_hz=given.number("lower_hz", 0.0, 0.0, rate_hz / 2),
            upper_hz=given.number("upper_hz", rate_hz / 2, 0.0, rate_hz / 2),
            log_offset=given.number("log_offset", 0.0, 0.0, MAX_LEVEL),
            log_floor=given.number("log_floor", LOG_FLOOR, MIN_LEVEL, MAX_LEVEL),
            coefficients=given.integer("coefficients", 0, 0, bins),
        )
        if step.lower_hz >= step.upper_hz:
            raise ProtocolError(
                f"{fields.path}.lower_hz is {step.lower_hz:g}, not below upper_hz "
                f"({step.upper_hz:g})"
            )
        return step

    def check(self, path: str, shape: tuple[int, ...]) -> None:
        """Refuse rows of ``shape`` that are no window of samples, or a too large one.

        Raises:
            ProtocolError: which field, and why.
        """
        if len(shape) != 1 or shape[0] > MAX_SAMPLES:
            raise ProtocolError(
                f"{path} needs a shape of the number of samples, up to {MAX_SAMPLES}, "
                f"given: {list(shape)}",
                next_step='for one second at 16 kHz "shape": [16000]',
            )
        frames = self.frames_of(shape[0])
        if not frames:
            raise ProtocolError(
                f"{path}.frame_length is {self.frame_length}, a row has only {shape[0]} samples"
            )
        if frames * self.fft_size > MAX_SPECTRUM_ELEMENTS:
            raise ProtocolError(
                f"{path} makes {frames} frames of {self.fft_size}, together more than "
                f"{MAX_SPECTRUM_ELEMENTS}",
                next_step="take a larger frame_step, or shorter rows",
            )


class _Given:
    """Fields of which each may be left out: it then has its default."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._names = set(fields.names())

    def number(self, key: str, default: float, minimum: float, maximum: float) -> float:
        if key not in self._names:
            return default
        return self._fields.number(key, minimum=minimum, maximum=maximum)

    def integer(self, key: str, default: int, minimum: int, maximum: int) -> int:
        if key not in self._names:
            return default
        return self._fields.integer(key, minimum=minimum, maximum=maximum)

    def word(self, key: str, known: tuple[str, ...]) -> str:
        """The first of ``known`` is the default."""
        return self._fields.word(key, known) if key in self._names else known[0]
