"""A tone to play and an ear for what comes back. PCM is signed 16-bit mono at 48 kHz."""

import wave

import numpy as np

RATE = 48_000
FRAME = RATE // 100
BLOCK = RATE // 200


class Tone:
    """An endless tone in frames of 10 ms, without a step between them; 0 Hz is silence."""

    def __init__(self, hz, level=8000):
        self._hz, self._level, self._at = hz, level, 0

    def frame(self):
        """The next 10 ms."""
        at = np.arange(self._at, self._at + FRAME)
        self._at += FRAME
        return (self._level * np.sin(2 * np.pi * self._hz * at / RATE)).astype("<i2").tobytes()


class Speech:
    """A recording (WAV, 48 kHz, mono) in frames of 10 ms, again and again."""

    def __init__(self, file):
        with wave.open(file) as recording:
            pcm = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")
        self._frames, self._at = pcm[:len(pcm) // FRAME * FRAME].reshape(-1, FRAME), 0

    def frame(self):
        """The next 10 ms."""
        frame = self._frames[self._at % len(self._frames)]
        self._at += 1
        return frame.tobytes()


class Ear:
    """Takes PCM in pieces of any size and judges each whole second of it."""

    def __init__(self, record=None):
        self._bytes = bytearray()
        self.seconds = 0
        self._wave = None
        if record:
            self._wave = wave.open(record, "wb")
            self._wave.setparams((1, 2, RATE, 0, "NONE", ""))

    def hear(self, pcm):
        """Adds PCM and yields a verdict for each second that is full."""
        if self._wave:
            self._wave.writeframes(pcm)
        self._bytes += pcm
        while len(self._bytes) >= 2 * RATE:
            second = np.frombuffer(bytes(self._bytes[:2 * RATE]), "<i2").astype(float)
            del self._bytes[:2 * RATE]
            self.seconds += 1
            yield judge(second)

    def close(self):
        """Finishes the recording."""
        if self._wave:
            self._wave.close()


class Onset:
    """Says as soon as a tenth of a second is mostly one tone, and when that is over."""

    def __init__(self):
        self._bytes, self._hz = bytearray(), 0

    def hear(self, pcm):
        """Adds PCM; yields a tone, to 10 Hz, whenever it begins, and 0 whenever it is over."""
        self._bytes += pcm
        while len(self._bytes) >= RATE // 5:
            piece = np.frombuffer(bytes(self._bytes[:RATE // 5]), "<i2").astype(float)
            del self._bytes[:RATE // 10]
            power = np.abs(np.fft.rfft(piece * np.hanning(len(piece)))) ** 2
            peak = int(power.argmax())
            is_tone = np.sqrt(np.mean(piece**2)) > 100 and power[max(0, peak - 2):peak + 3].sum() > power.sum() / 2
            hz = peak * 10 if is_tone else 0
            if bool(hz) != bool(self._hz):
                self._hz = hz
                yield hz


def judge(second):
    """The strongest tone of one second of sound: its frequency, its share of the energy, the level, the longest hole.

    A hole is a run of 5 ms blocks quieter than a tenth of the median block.
    """
    rms = float(np.sqrt(np.mean(second**2)))
    power = np.abs(np.fft.rfft(second * np.hanning(len(second)))) ** 2
    power[:20] = 0
    total = float(power.sum())
    peak = int(power.argmax())
    share = float(power[max(0, peak - 5):peak + 6].sum()) / total if total > 0 else 0.0
    blocks = np.sqrt(np.mean(second.reshape(-1, BLOCK) ** 2, axis=1))
    quiet = blocks <= max(np.median(blocks) / 10, 1.0)
    longest = run = 0
    for silent in quiet:
        run = run + 1 if silent else 0
        longest = max(longest, run)
    return {"hz": peak if total > 0 else 0, "share": round(share, 4), "rms": round(rms, 1), "hole_ms": longest * 5}
