//! Phones that know their passwords: fills what bytes cannot guess into the requests that they make.
//!
//! In a datagram `$A` stands for the digest response of the phone that sends it, `$X` for a wrong one; `$T` for the
//! tag of our latest response, `$F` for that of our latest INVITE, `$B` for the branch of our latest request, `$S`
//! for the address of the source, `$N` for a number that is never the same, `$K` for 4000 bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use md5::Md5;
use sha2::{Digest, Sha256};

/// The realm of all accounts.
pub const REALM: &str = "fuzz";
/// The password of all accounts.
pub const PASSWORD: &str = "correct horse";
/// Our own address.
pub const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 5060);
/// A nonce is drawn anew before it is too old.
const NONCE_AGE: Duration = Duration::from_secs(200);

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// From where.
    pub address: SocketAddr,
    /// The account whose password it knows, if any.
    pub account: Option<&'static str>,
}

/// Two phones of one account, the phone of another one, a stranger.
pub fn source(digit: u8) -> Source {
    let (ip, account) = match digit {
        b'0' => ([192, 0, 2, 2], Some("100")),
        b'1' => ([192, 0, 2, 3], Some("100")),
        b'2' => ([192, 0, 2, 4], Some("101")),
        _ => ([203, 0, 113, 9], None),
    };
    Source {
        address: (ip, 5060).into(),
        account,
    }
}

/// What our side has said that later datagrams must repeat.
#[derive(Default)]
pub struct Heard {
    tag: String,
    from_tag: String,
    branch: String,
    /// By the address they are good from: a nonce, how often it was used, when it came.
    nonces: BTreeMap<IpAddr, (String, u32, Instant)>,
    number: u32,
}

fn between<'a>(text: &'a str, start: &str, ends: &[char]) -> Option<&'a str> {
    let after = &text[text.find(start)? + start.len()..];
    Some(&after[..after.find(ends)?])
}

fn hex<H: Digest>(text: &str) -> String {
    H::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn response<H: Digest>(account: &str, nonce: &str, count: &str, method: &str, uri: &str) -> String {
    let ha1 = hex::<H>(&format!("{account}:{REALM}:{PASSWORD}"));
    let ha2 = hex::<H>(&format!("{method}:{uri}"));
    hex::<H>(&format!("{ha1}:{nonce}:{count}:c:auth:{ha2}"))
}

impl Heard {
    /// Takes a datagram of our side.
    pub fn take(&mut self, now: Instant, to: SocketAddr, payload: &[u8]) {
        let text = String::from_utf8_lossy(payload);
        if !text.starts_with("SIP/") {
            if let Some(tag) = between(&text, ";tag=", &['\r', ';', '>']).filter(|_| text.starts_with("INVITE")) {
                self.from_tag = tag.to_owned();
            }
            if let Some(branch) = between(&text, "branch=", &['\r', ';']) {
                self.branch = branch.to_owned();
            }
            return;
        }
        if let Some(nonce) = between(&text, "nonce=\"", &['"']) {
            self.nonces.insert(to.ip(), (nonce.to_owned(), 0, now));
        } else if let Some(tag) = between(&text, "\r\nTo: ", &['\r']).and_then(|to| to.split(";tag=").nth(1)) {
            self.tag = tag.split(';').next().unwrap_or_default().to_owned();
        }
    }

    /// A request that draws a challenge, if this phone has to log in and has no nonce that is good.
    pub fn probe(&mut self, now: Instant, source: Source, datagram: &[u8]) -> Option<Vec<u8>> {
        let account = source.account?;
        let wanted = datagram.windows(2).any(|two| two == b"$A" || two == b"$X");
        let fresh = |(_, _, at): &(String, u32, Instant)| now.saturating_duration_since(*at) < NONCE_AGE;
        if !wanted || self.nonces.get(&source.address.ip()).is_some_and(fresh) {
            return None;
        }
        self.number += 1;
        let (address, number) = (source.address, self.number);
        let text = format!(
            "REGISTER sip:{LOCAL} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bKprobe{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{account}@{LOCAL}>;tag=p\r\nTo: <sip:{account}@{LOCAL}>\r\nCall-ID: p@x\r\n\
             CSeq: {number} REGISTER\r\nContent-Length: 0\r\n\r\n"
        );
        Some(text.into_bytes())
    }

    /// The datagram with all that stands for something else filled in.
    pub fn fill(&mut self, source: Source, datagram: &[u8]) -> Vec<u8> {
        self.number += 1;
        let line = self.replace(source, datagram.split(|b| *b == b'\r').next().unwrap_or_default(), "");
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut words = line.split(' ');
        let [method, uri] = std::array::from_fn(|_| words.next().unwrap_or_default());
        let authorization = self.authorization(source, method, uri).unwrap_or_default();
        self.replace(source, datagram, &authorization)
    }

    fn replace(&self, source: Source, datagram: &[u8], authorization: &str) -> Vec<u8> {
        let mut payload = Vec::with_capacity(datagram.len());
        let mut rest = datagram;
        while let [first, tail @ ..] = rest {
            let letter = tail.first().filter(|_| *first == b'$').copied();
            let text = match letter {
                Some(b'A') => authorization.to_owned(),
                Some(b'X') => authorization.replace("response=\"", "response=\"0"),
                Some(b'T') => self.tag.clone(),
                Some(b'F') => self.from_tag.clone(),
                Some(b'B') => self.branch.clone(),
                Some(b'S') => source.address.to_string(),
                Some(b'N') => self.number.to_string(),
                Some(b'K') => "k".repeat(4000),
                _ => {
                    payload.push(*first);
                    rest = tail;
                    continue;
                }
            };
            payload.extend_from_slice(text.as_bytes());
            rest = &tail[1..];
        }
        payload
    }

    /// Account 100 has a SHA-256 hash, account 101 only one of MD5.
    fn authorization(&mut self, source: Source, method: &str, uri: &str) -> Option<String> {
        let account = source.account?;
        let (nonce, used, _) = self.nonces.get_mut(&source.address.ip())?;
        *used += 1;
        let count = format!("{used:08x}");
        let (response, algorithm) = if account == "100" {
            (
                response::<Sha256>(account, nonce, &count, method, uri),
                ", algorithm=SHA-256",
            )
        } else {
            (response::<Md5>(account, nonce, &count, method, uri), "")
        };
        Some(format!(
            "Authorization: Digest username=\"{account}\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\"{algorithm}, qop=auth, nc={count}, cnonce=\"c\"\r\n"
        ))
    }
}
