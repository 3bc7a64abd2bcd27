"""Sound: frames, windows, filter banks and MFCCs against independent figures and scipy."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.signal

from device_agent.processing.audio import AudioWork, dct, hann, mel_bank
from device_agent.processing.prepare import prepare_row, prepare_rows
from device_agent.protocol.audio import MAX_FFT_SIZE, MAX_MEL_BINS, AudioStep
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import BadInput, ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.manifest import TensorSpec
from device_agent.protocol.preprocessing import Preprocessing

RATE = 16000
NEEDED = {"sample_rate_hz": RATE, "frame_length": 512, "frame_step": 160, "mel_bins": 40}
STEP = AudioStep(
    sample_rate_hz=RATE,
    frame_length=512,
    frame_step=160,
    mel_bins=40,
    fft_size=512,
    full_scale=32768,
    lower_hz=20,
    upper_hz=8000,
)
_TIME_S = np.arange(RATE) / RATE
CHIRP = np.round(
    8000 * np.sin(2 * np.pi * 440 * _TIME_S)
    + 4000 * np.sin(2 * np.pi * 3000 * _TIME_S**2)
    + np.random.default_rng(0).normal(0, 500, RATE)
).astype(np.int16)


def read(document: object) -> Preprocessing:
    return Preprocessing.from_fields(Fields(document, "preprocessing"))


def audio(**more: Any) -> AudioStep:
    found = read({"shape": [RATE], "audio": {**NEEDED, **more}}).audio
    assert found is not None
    return found


def independent_features(samples: np.ndarray, step: AudioStep) -> np.ndarray:
    """Return log-mel features by scipy's window and FFT, frame by frame."""
    window = scipy.signal.get_window("hann", step.frame_length, fftbins=True)
    bank = independent_bank(step)
    lines = []
    for start in range(0, len(samples) - step.frame_length + 1, step.frame_step):
        frame = samples[start : start + step.frame_length] / step.full_scale * window
        power = np.abs(scipy.fft.rfft(frame, step.fft_size)) ** 2
        lines.append(np.log(np.maximum(power @ bank + step.log_offset, step.log_floor)))
    return np.array(lines)


def independent_bank(step: AudioStep) -> np.ndarray:
    """Return HTK triangles straight in Hz, weight by weight."""

    def mel(hz: float) -> float:
        return 1127.0 * math.log(1 + hz / 700)

    ends = mel(step.lower_hz), mel(step.upper_hz)
    corners = [
        700 * (math.exp((ends[0] + (ends[1] - ends[0]) * at / (step.mel_bins + 1)) / 1127) - 1)
        for at in range(step.mel_bins + 2)
    ]
    bank = np.zeros((step.fft_size // 2 + 1, step.mel_bins))
    for line in range(len(bank)):
        hz = line * step.sample_rate_hz / step.fft_size
        for at in range(step.mel_bins):
            left, top, right = corners[at : at + 3]
            if left < hz <= top:
                bank[line, at] = (hz - left) / (top - left)
            elif top < hz < right:
                bank[line, at] = (right - hz) / (right - top)
    return bank


# ---- values


def test_the_window_is_scipys_periodic_hann() -> None:
    wanted = scipy.signal.get_window("hann", 400, fftbins=True)
    np.testing.assert_allclose(hann(400), wanted, atol=1e-15)
    assert hann(4).tolist() == pytest.approx([0.0, 0.5, 1.0, 0.5])


def test_the_dct_is_scipys_orthonormal_one() -> None:
    rows = np.random.default_rng(1).normal(size=(5, 40))
    wanted = scipy.fft.dct(rows, type=2, norm="ortho")[:, :13]
    np.testing.assert_allclose(rows @ dct(13, 40), wanted, atol=1e-12)
    np.testing.assert_allclose(dct(40, 40).T @ dct(40, 40), np.eye(40), atol=1e-12)


def test_the_bank_is_that_of_its_formula_weight_by_weight() -> None:
    np.testing.assert_allclose(mel_bank(STEP), independent_bank(STEP), atol=1e-12)


LIBROSA_SLANEY = [
    [0.7080647004, 0.2919352996],
    [0.2804648275, 0.7195351725],
]
"""librosa 0.11.0: filters.mel(sr=16000, n_fft=512, n_mels=40, fmin=20, fmax=8000, norm=None),
bins 6 and 7 of filters 1 and 2: Slaney's scale."""


def test_slaneys_bank_has_the_weights_that_librosa_has() -> None:
    bank = mel_bank(replace(STEP, mel_scale="slaney"))
    np.testing.assert_allclose(bank[6:8, 1:3], LIBROSA_SLANEY, atol=1e-9)


def test_slaneys_scale_is_linear_to_1000_hz_and_logarithmic_above() -> None:
    # 15 mels are 1000 Hz and 42 are 6400 Hz: the tops of 41 bins between 0 and 6400 Hz are at 1 to
    # 41 mels.
    step = replace(STEP, mel_scale="slaney", lower_hz=0, upper_hz=6400, mel_bins=41, fft_size=16384)
    tops = mel_bank(step).argmax(axis=0) * RATE / 16384
    np.testing.assert_allclose(tops[:15], np.arange(1, 16) * 200 / 3, atol=1)
    np.testing.assert_allclose(tops[15:] / tops[14:-1], 6.4 ** (1 / 27), atol=1e-3)


def test_htks_scale_puts_1000_hz_at_1000_mel() -> None:
    # From 0 Hz to 1000 mel, of three bins the middle one is at 500 mel: 390.9 Hz by the formula.
    step = replace(STEP, lower_hz=0, upper_hz=1000, mel_bins=3, fft_size=16384)
    top = mel_bank(step).argmax(axis=0)[1] * RATE / 16384
    assert top == pytest.approx(700 * (10 ** (999.9855 / 2 / 2595) - 1), abs=1)


def test_triangles_of_area_have_the_same_area_in_hz() -> None:
    bank = mel_bank(replace(STEP, normalization="area", fft_size=16384))
    np.testing.assert_allclose(bank.sum(axis=0) * RATE / 16384, 1.0, rtol=5e-3)
    assert mel_bank(replace(STEP, fft_size=16384)).max(axis=0).min() > 0.98


def test_triangles_straight_in_mel_meet_at_a_half() -> None:
    bank = mel_bank(replace(STEP, triangles="mel", fft_size=4096))
    inner = bank[bank[:, 0].argmax() : bank[:, -1].argmax()]
    np.testing.assert_allclose(inner.sum(axis=1), 1.0, atol=1e-12)
    assert np.abs(bank - mel_bank(replace(STEP, fft_size=4096))).max() > 0.001
    assert bank[0].tolist() == [0.0] * 40


def test_log_mel_features_are_those_of_scipys_transform() -> None:
    found = AudioWork(STEP)(CHIRP)
    wanted = independent_features(CHIRP, STEP)
    assert (found.dtype, found.shape) == (np.float32, (97, 40))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_mfccs_are_the_first_of_the_orthonormal_dct_of_them() -> None:
    found = AudioWork(replace(STEP, coefficients=13))(CHIRP)
    wanted = scipy.fft.dct(independent_features(CHIRP, STEP), type=2, norm="ortho")[:, :13]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_magnitude_is_the_root_of_power() -> None:
    one_line = replace(STEP, window="none", lower_hz=0, log_floor=1e-30)
    tone = np.cos(2 * np.pi * 1000 * np.arange(512) / RATE) * 32768
    power = AudioWork(one_line)(tone)
    magnitude = AudioWork(replace(one_line, spectrum="magnitude"))(tone)
    top = power[0].argmax()
    # All of the tone is in line 32 (1000 Hz) of the spectrum, half of 512 high.
    weight = mel_bank(one_line)[32, top]
    assert power[0, top] == pytest.approx(math.log(weight * 256.0**2), abs=1e-5)
    assert magnitude[0, top] == pytest.approx(math.log(weight * 256.0), abs=1e-5)


def test_silence_is_the_floor_and_the_offset_is_added_before_it() -> None:
    silence = np.zeros(RATE, np.int16)
    assert set(AudioWork(replace(STEP, log_floor=1e-4))(silence).ravel().tolist()) == {
        float(np.float32(math.log(1e-4)))
    }
    added = AudioWork(replace(STEP, log_offset=0.5))(silence)
    assert set(added.ravel().tolist()) == {float(np.float32(math.log(0.5)))}


def test_only_whole_frames_count_and_each_is_padded_at_its_end() -> None:
    short = replace(STEP, frame_length=400, frame_step=160)
    assert [short.frames_of(count) for count in (399, 400, 559, 560)] == [0, 1, 1, 2]
    np.testing.assert_allclose(
        AudioWork(short)(CHIRP[:1000]), independent_features(CHIRP[:1000], short), atol=1e-5
    )


def test_full_scale_makes_integers_what_floats_are() -> None:
    of_floats = AudioWork(replace(STEP, full_scale=1.0))
    np.testing.assert_array_equal(
        AudioWork(STEP)(CHIRP), of_floats((CHIRP / 32768).astype(np.float32))
    )
    np.testing.assert_array_equal(AudioWork(STEP)(CHIRP), AudioWork(STEP)(CHIRP.astype(np.int64)))


@pytest.mark.parametrize("more", [{}, {"coefficients": 13}, {"spectrum": "magnitude"}])
@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_many_windows_are_prepared_as_each_by_itself(more: dict[str, Any], dtype: str) -> None:
    step = replace(STEP, **more)
    preprocessing = Preprocessing(
        shape=(4000,), audio=step, mean=(-5.0,), std=(2.0,) * step.features
    )
    rows = np.stack([CHIRP[:4000], CHIRP[4000:8000], CHIRP[8000:12000]]).astype(dtype)
    spec = TensorSpec(name="x", dtype="float32", shape=(1, *preprocessing.made_shape, 1))
    one_by_one = [prepare_row(row, preprocessing, spec)[0, ..., 0] for row in rows]
    assert one_by_one[0].shape == (22, step.features)
    np.testing.assert_array_equal(prepare_rows(rows, preprocessing), np.stack(one_by_one))
    listed = prepare_row(rows[0].tolist(), preprocessing, spec)[0, ..., 0]
    np.testing.assert_array_equal(listed, one_by_one[0])


def test_samples_that_are_no_numbers_make_features_that_are_none_without_a_warning() -> None:
    preprocessing = Preprocessing(shape=(512,), audio=STEP)
    spec = TensorSpec(name="x", dtype="float32", shape=(40,))
    broken = np.zeros(512)
    broken[3] = np.inf
    assert not np.isfinite(prepare_row(broken, preprocessing, spec)).any()


def test_a_window_of_another_length_is_said() -> None:
    preprocessing = Preprocessing(shape=(512,), audio=STEP)
    with pytest.raises(BadInput, match="512 elements.*given: 511"):
        prepare_row(
            np.zeros(511), preprocessing, TensorSpec(name="x", dtype="float32", shape=(40,))
        )


# ---- documents


def test_what_is_left_out_has_its_default() -> None:
    step = audio(frame_length=400)
    assert (step.fft_size, step.upper_hz, step.lower_hz) == (512, 8000.0, 0.0)
    assert (step.window, step.spectrum, step.mel_scale) == ("hann", "power", "htk")
    assert (step.triangles, step.normalization, step.coefficients) == ("hz", "none", 0)
    assert (step.full_scale, step.log_offset, step.log_floor) == (1.0, 0.0, 1e-10)
    assert audio(frame_length=512).fft_size == 512
    assert audio(frame_length=1).fft_size == 1


@pytest.mark.parametrize(
    "step",
    [
        STEP,
        replace(STEP, coefficients=40, triangles="mel", normalization="area", window="none"),
        replace(STEP, mel_scale="slaney", spectrum="magnitude", log_offset=1e-6, fft_size=777),
    ],
)
def test_a_document_says_it_all(step: AudioStep) -> None:
    preprocessing = Preprocessing(shape=(RATE,), audio=step)
    assert read(decode(encode(preprocessing.to_document()))) == preprocessing


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"sample_rate_hz": 0}, "sample_rate_hz is 0"),
    ({"sample_rate_hz": None}, "sample_rate_hz is not a number"),
    ({"frame_length": 0}, "frame_length is 0"),
    ({"frame_length": 1 << 40}, "frame_length is"),
    ({"frame_length": RATE + 1}, "frame_length is"),
    ({"frame_step": 0}, "frame_step is 0"),
    ({"frame_step": 1.5}, "frame_step is not int"),
    ({"fft_size": 511}, "fft_size is 511, not in 512"),
    ({"fft_size": MAX_FFT_SIZE + 1}, "fft_size is"),
    ({"fft_size": None}, "fft_size is missing"),
    ({"mel_bins": 0}, "mel_bins is 0"),
    ({"mel_bins": MAX_MEL_BINS + 1}, "mel_bins is"),
    ({"coefficients": 41}, r"coefficients is 41, not in 0\.\.40"),
    ({"coefficients": True}, "coefficients is not int"),
    ({"upper_hz": 8001}, "upper_hz is 8001"),
    ({"lower_hz": -1}, "lower_hz is -1"),
    ({"lower_hz": 4000, "upper_hz": 4000}, "lower_hz is 4000, not below upper_hz"),
    ({"window": "hamming"}, "window is 'hamming', not one of hann, none"),
    ({"spectrum": "complex"}, "spectrum is 'complex'"),
    ({"mel_scale": "bark"}, "mel_scale is 'bark', not one of htk, slaney"),
    ({"triangles": "round"}, "triangles is 'round'"),
    ({"normalization": "peak"}, "normalization is 'peak'"),
    ({"log_floor": 0}, "log_floor is 0"),
    ({"log_floor": float("nan")}, "log_floor is nan"),
    ({"log_offset": -1e-9}, "log_offset is"),
    ({"full_scale": 0}, "full_scale is 0"),
]


@pytest.mark.parametrize(("more", "says"), HOSTILE)
def test_what_cannot_be_is_refused_by_its_field(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ProtocolError, match=rf"preprocessing\.audio\.{says}"):
        read({"shape": [RATE], "audio": {**NEEDED, **more}})


@pytest.mark.parametrize("left_out", NEEDED)
def test_what_nothing_can_be_assumed_of_must_be_there(left_out: str) -> None:
    document = {key: value for key, value in NEEDED.items() if key != left_out}
    with pytest.raises(ProtocolError, match=rf"audio\.{left_out} is"):
        read({"shape": [RATE], "audio": document})


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ([], r"audio needs a shape of the number of samples.*given: \[\]"),
        ([RATE, 1], "audio needs a shape"),
        ([511], r"audio\.frame_length is 512, a row has only 511 samples"),
        ([1 << 26], "audio needs a shape of the number of samples, up to"),
    ],
)
def test_a_shape_that_is_no_window_of_samples_is_said(shape: list[int], says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        read({"shape": shape, "audio": NEEDED})


def test_frames_that_would_not_fit_into_memory_are_refused_before_any_is_made() -> None:
    with pytest.raises(ProtocolError, match="audio makes 1047553 frames of 1024, together more"):
        read(
            {"shape": [1 << 20], "audio": {**NEEDED, "frame_length": 1024, "frame_step": 1}},
        )


def test_a_mean_is_for_each_feature_that_is_made() -> None:
    assert read({"shape": [RATE], "audio": NEEDED, "mean": [0.0] * 40}).made_shape == (97, 40)
    with pytest.raises(ProtocolError, match=r"std has 13 numbers, the shape \[97, 40\]"):
        read({"shape": [RATE], "audio": NEEDED, "std": [1.0] * 13})
