"""Valid preprocessing of every kind, for round trips."""

from __future__ import annotations

from hypothesis import strategies as st

from device_agent.protocol.audio import (
    MAX_LEVEL,
    MEL_SCALES,
    MIN_LEVEL,
    NORMALIZATIONS,
    SPECTRA,
    TRIANGLES,
    WINDOWS,
    AudioStep,
)
from device_agent.protocol.image import CHANNELS, METHODS, ImageStep
from device_agent.protocol.preprocessing import MAX_MAGNITUDE, MIN_MAGNITUDE, Preprocessing
from device_agent.protocol.tabular import (
    ENCODINGS,
    MAX_VALUE,
    ONE_HOT,
    UNKNOWNS,
    ZEROS,
    Feature,
    TabularStep,
)

VALUES = st.floats(-MAX_VALUE, MAX_VALUE)

IMAGES = st.builds(
    ImageStep,
    resize=st.just(()) | st.tuples(st.integers(1, 64), st.integers(1, 64)),
    method=st.sampled_from(METHODS),
    channels=st.sampled_from(CHANNELS),
)


@st.composite
def audio_steps(draw: st.DrawFn) -> AudioStep:
    length, bins = draw(st.integers(1, 600)), draw(st.integers(1, 60))
    rate_hz = draw(st.floats(10, 96000))
    upper_hz = draw(st.floats(1, rate_hz / 2))
    return AudioStep(
        sample_rate_hz=rate_hz,
        frame_length=length,
        frame_step=draw(st.integers(1, 600)),
        mel_bins=bins,
        fft_size=draw(st.integers(length, 1024)),
        full_scale=draw(st.floats(MIN_MAGNITUDE, MAX_LEVEL)),
        window=draw(st.sampled_from(WINDOWS)),
        spectrum=draw(st.sampled_from(SPECTRA)),
        mel_scale=draw(st.sampled_from(MEL_SCALES)),
        triangles=draw(st.sampled_from(TRIANGLES)),
        normalization=draw(st.sampled_from(NORMALIZATIONS)),
        lower_hz=draw(st.floats(0, upper_hz, exclude_max=True)),
        upper_hz=upper_hz,
        log_offset=draw(st.floats(0, MAX_LEVEL)),
        log_floor=draw(st.floats(MIN_LEVEL, MAX_LEVEL)),
        coefficients=draw(st.integers(0, bins)),
    )


@st.composite
def features(draw: st.DrawFn, name: str) -> Feature:
    fill = draw(st.none() | VALUES)
    if draw(st.booleans()):
        encoding = draw(st.sampled_from(ENCODINGS))
        unknowns = UNKNOWNS if encoding == ONE_HOT else [each for each in UNKNOWNS if each != ZEROS]
        known = draw(st.lists(st.integers(-9, 9), min_size=1, max_size=5, unique=True))
        return Feature(
            name=name,
            fill=fill,
            categories=tuple(map(float, known)),
            encoding=encoding,
            unknown=draw(st.sampled_from(unknowns)),
        )
    log1p = draw(st.booleans())
    values = st.floats(-0.9, MAX_VALUE) if log1p else VALUES
    bounds = draw(st.none() | st.tuples(values, values))
    return Feature(
        name=name,
        fill=fill if bounds else draw(st.none() | values),
        clip=tuple(sorted(bounds)) if bounds else (),
        log1p=log1p,
    )


@st.composite
def kinds(draw: st.DrawFn) -> Preprocessing:
    """Return what is done to some kind of row, not scaled yet."""
    kind = draw(st.sampled_from(["any", "image", "audio", "tabular"]))
    if kind == "image":
        sides = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
        return Preprocessing(shape=(*sides, 3), image=draw(IMAGES))
    if kind == "audio":
        step = draw(audio_steps())
        samples = step.frame_length + draw(st.integers(0, 2000))
        return Preprocessing(shape=(samples,), audio=step)
    if kind == "tabular":
        count = draw(st.integers(1, 6))
        every = tuple(draw(features(f"f{at}" if at % 2 else "")) for at in range(count))
        shape = draw(st.sampled_from([(), (count,), (count, 1)]))
        return Preprocessing(shape=shape, tabular=TabularStep(features=every))
    return Preprocessing(shape=draw(st.lists(st.integers(1, 6), max_size=4).map(tuple)))


@st.composite
def preprocessings(draw: st.DrawFn) -> Preprocessing:
    of_kind = draw(kinds())
    shape = of_kind.made_shape
    lengths = [0, 1, shape[-1]] if shape else [0, 1]

    def numbers(least: float) -> tuple[float, ...]:
        length = draw(st.sampled_from(lengths))
        each = st.floats(least, MAX_MAGNITUDE)
        return tuple(draw(st.lists(each, min_size=length, max_size=length)))

    factors = st.floats(MIN_MAGNITUDE, MAX_MAGNITUDE)
    return Preprocessing(
        scale=draw(factors | factors.map(lambda factor: -factor)),
        mean=numbers(-MAX_MAGNITUDE),
        std=numbers(MIN_MAGNITUDE),
        shape=of_kind.shape,
        layout=draw(st.sampled_from(["as-is", "hwc-to-chw"] if len(shape) == 3 else ["as-is"])),
        image=of_kind.image,
        audio=of_kind.audio,
        tabular=of_kind.tabular,
    )
