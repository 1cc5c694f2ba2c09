//! RTP and RTCP: one sender a stream, a receiving buffer, DTMF, the source latch, SRTP (RFC 3550, 3551, 3711, 4733).
