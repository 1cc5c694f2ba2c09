#!/usr/bin/env python3
"""How well speech was heard: a reference and a recording (WAV, mono) to a line of JSON.

The recording is aligned second by second. `pesq`: the mean of ITU-T P.862 over pieces of 8 s, and the worst; `late_ms`: how much later
than in the first seconds it was heard, at most and at the end; `holes`: seconds of speech in whose place there is nothing.
"""

import json
import sys
import wave

import numpy as np
from pesq import PesqError, pesq

PIECE = 8
# The first seconds are those in which the call comes to stand.
SKIP = 4


def read(file, rate):
    """The samples at that rate."""
    with wave.open(file) as recording:
        own, channels = recording.getframerate(), recording.getnchannels()
        pcm = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")[::channels].astype(float)
    if own == rate:
        return pcm
    factor = own // rate
    taps = np.sinc((np.arange(-32 * factor, 32 * factor + 1)) / factor * 0.95) * np.hanning(64 * factor + 1)
    return np.convolve(pcm, taps / taps.sum(), "same")[::factor]


def lag(piece, recording, start, reach):
    """Where in the recording the piece is heard, from `start` on, and how alike both are there."""
    window = recording[max(0, start):start + reach + len(piece)]
    if len(window) < len(piece) or not np.any(piece):
        return None
    size = 1 << (len(window) + len(piece)).bit_length()
    alike = np.fft.irfft(np.fft.rfft(window, size) * np.conj(np.fft.rfft(piece, size)), size)[:len(window) - len(piece) + 1]
    energy = np.concatenate([[0], np.cumsum(window**2)])
    energy = np.sqrt(np.maximum(energy[len(piece):] - energy[:-len(piece)], 1))
    alike = alike / energy / np.sqrt(np.sum(piece**2))
    best = int(alike.argmax())
    return max(0, start) + best, float(alike[best])


def main(reference, recording, rate, seconds):
    """The figures."""
    said, heard = read(reference, rate), read(recording, rate)
    said = said[:seconds * rate][SKIP * rate:]
    seconds -= SKIP
    # Where it begins, by what was heard best: the two began within ten seconds of each other.
    pieces = ((at, lag(said[at * rate:(at + 2) * rate], heard, at * rate, 14 * rate)) for at in range(0, seconds - 2, 2))
    begin = max((found + (at,) for at, found in pieces if found), key=lambda found: found[1])
    offset = begin[0] - begin[2] * rate
    lags = []
    for at in range(0, seconds):
        found = lag(said[at * rate:(at + 1) * rate], heard, offset + at * rate - rate, 4 * rate)
        lags.append(found[0] - at * rate if found and found[1] > 0.6 else None)
    known = [each for each in lags if each is not None]
    if len(known) < 3:
        return {"pesq": 0, "worst": 0, "late_ms": None, "holes": seconds}
    first = float(np.median(known[:5]))
    scores = []
    for at in range(0, seconds - PIECE + 1, PIECE):
        here = [each for each in lags[at:at + PIECE] if each is not None]
        start = int((np.median(here) if here else first) + at * rate)
        piece = heard[max(0, start):start + PIECE * rate]
        if len(piece) < PIECE * rate:
            break
        try:
            scores.append(pesq(rate, said[at * rate:(at + PIECE) * rate], piece, "nb" if rate == 8000 else "wb"))
        except PesqError:
            scores.append(1.0)
    block = rate // 50
    holes, level = 0, np.sqrt(np.mean(said**2))
    for at, each in enumerate(lags):
        start = int((first if each is None else each) + at * rate)
        for begin in range(0, rate, block):
            word, sound = said[at * rate + begin:][:block], heard[max(0, start + begin):][:block]
            if len(sound) == block and np.sqrt(np.mean(word**2)) > level / 4:
                holes += np.sqrt(np.mean(sound**2)) < level / 60
    in_ms = 1000 / rate
    return {
        "pesq": round(float(np.mean(scores)), 2) if scores else 0, "worst": round(min(scores), 2) if scores else 0,
        "late_ms": [round((max(known) - first) * in_ms), round((np.median(known[-5:]) - first) * in_ms)],
        "holes": round(holes * block / rate, 2),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
