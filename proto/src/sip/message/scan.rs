//! Bytes to start line, header fields and body. Our own, since rsip refuses or misreads folded lines, compact names,
//! leading CRLF, bare LF and Content-Length.

use super::LWS;
use super::headers::Headers;

/// Fields looked at; a message with more is refused.
const MAX_FIELDS: usize = 256;

/// What is wrong with one that has more.
const TOO_MANY_FIELDS: &str = "Too Many Header Fields";

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// `INVITE sip:… SIP/2.0`
    Request {
        /// As written.
        method: String,
        /// As written; may be no URI at all.
        uri: String,
        /// `SIP/2.0`, or not.
        version: String,
    },
    /// `SIP/2.0 200 OK`
    Response {
        /// 100..=699.
        status: u16,
        /// For people.
        reason: String,
        /// `SIP/2.0`, or not.
        version: String,
    },
}

/// What the scanner found; with a fault, the rest is what could be read in spite of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// The first line.
    pub(super) start: Start,
    /// The fields.
    pub(super) headers: Headers,
    /// As long as Content-Length says.
    pub(super) body: Vec<u8>,
    /// The first thing wrong, as a reason phrase.
    pub(super) fault: Option<&'static str>,
}

/// Scans one datagram; `None` if it is no SIP at all (a keep-alive, noise).
pub(super) fn scan(bytes: &[u8]) -> Option<Scanned> {
    let begin = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n'))?;
    let mut rest = bytes.get(begin..)?;
    let first = take_line(&mut rest)?;
    let start = start_line(&text_of(first))?;
    let mut scanned = Scanned {
        start,
        headers: Headers::default(),
        body: Vec::new(),
        fault: None,
    };
    let mut pending: Option<String> = None;
    let mut fields = 0;
    if !first.ends_with(b"\r") {
        scanned.headers.note_odd_line_end();
    }
    loop {
        let Some(line) = take_line(&mut rest) else {
            scanned.headers.note_odd_line_end();
            scanned.fault.get_or_insert("Missing Empty Line");
            break;
        };
        let bare = line.strip_suffix(b"\r").unwrap_or(line);
        if bare.len() == line.len() || bare.contains(&b'\r') {
            scanned.headers.note_odd_line_end();
        }
        let line = bare;
        if has_control(line) {
            scanned.headers.note_odd_line_end();
        }
        // Its name holds what other readers may not pass over: it is the name of nothing.
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if has_control(name) && !line.starts_with(b" ") && !line.starts_with(b"\t") {
            pending.take().iter().for_each(|field| push_field(&mut scanned, field));
            continue;
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            if let Some(field) = &mut pending {
                field.push(' ');
                field.push_str(text_of(line).trim_matches(LWS));
            }
            continue;
        }
        if let Some(field) = pending.take() {
            push_field(&mut scanned, &field);
        }
        if line.is_empty() {
            break;
        }
        fields += 1;
        if fields > MAX_FIELDS {
            scanned.fault.get_or_insert(TOO_MANY_FIELDS);
            break;
        }
        pending = Some(text_of(line));
    }
    if let Some(field) = pending.take() {
        push_field(&mut scanned, &field);
    }
    take_body(&mut scanned, rest);
    Some(scanned)
}

/// Where the head of a message ends: behind its first empty line, as [`scan`] finds it. None of it ends before `from`, and there are no
/// line ends before the message.
pub(in crate::sip) fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let ends = |at: &usize| match bytes.get(at + 1..) {
        Some([b'\n', ..]) => Some(at + 2),
        Some([b'\r', b'\n', ..]) => Some(at + 3),
        _ => None,
    };
    let feeds = bytes.iter().enumerate().skip(from).filter(|(_, byte)| **byte == b'\n');
    feeds.map(|(at, _)| at).find_map(|at| ends(&at))
}

/// What the head of a message says of the length of its body: an error if that is in doubt; `None` if it is no SIP.
pub(in crate::sip) fn length_of(head: &[u8]) -> Option<Result<usize, ()>> {
    let scanned = scan(head)?;
    // Of fields that were not looked at one may be a length.
    if scanned.fault == Some(TOO_MANY_FIELDS) {
        return Some(Err(()));
    }
    Some(announced(&scanned.headers).unwrap_or(Err(())))
}

/// The length of the body that is announced: an error if it is no number, or if there are two that differ.
fn announced(headers: &Headers) -> Option<Result<usize, ()>> {
    let mut lengths = headers.all("Content-Length");
    let first = lengths.next()?;
    let is_number = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
    let is_one = is_number && lengths.all(|length| length == first);
    Some(first.parse().ok().filter(|_| is_one).ok_or(()))
}

/// Cuts one line off, up to its LF; `None` if there is none.
fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|b| *b == b'\n')?;
    let (line, after) = rest.split_at(end);
    *rest = after.get(1..).unwrap_or_default();
    Some(line)
}

/// Whether there is a control character other than TAB: of ASCII, DEL, or one of U+0080 to U+009F.
fn has_control(line: &[u8]) -> bool {
    let ascii = line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
    ascii || line.windows(2).any(|pair| matches!(pair, [0xc2, 0x80..=0x9f]))
}

/// Text of a line: bad UTF-8 is marked, control characters (a lone CR could split headers) become spaces.
fn text_of(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn start_line(line: &str) -> Option<Start> {
    let line = line.trim_matches(LWS);
    let is_version = |v: &str| v.get(..4).is_some_and(|v| v.eq_ignore_ascii_case("SIP/"));
    let (first, rest) = line.split_once(' ')?;
    if is_version(first) {
        let rest = rest.trim_start_matches(LWS);
        let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let status = status.parse().ok().filter(|s| (100..=699).contains(s))?;
        return Some(Start::Response {
            status,
            reason: reason.trim_matches(LWS).to_owned(),
            version: first.to_owned(),
        });
    }
    let (uri, version) = rest.rsplit_once(' ')?;
    if !is_version(version) || !super::address::is_token(first) {
        return None;
    }
    Some(Start::Request {
        method: first.to_owned(),
        uri: uri.trim_matches(LWS).to_owned(),
        version: version.to_owned(),
    })
}

/// Keeps a field. A line that is none is left out: what a request needs is looked for later, and missed there.
fn push_field(scanned: &mut Scanned, field: &str) {
    if let Some((name, value)) = field.split_once(':')
        && super::address::is_token(name.trim_end_matches(LWS))
    {
        scanned
            .headers
            .push(name.trim_end_matches(LWS), value.trim_matches(LWS));
    }
}

/// Compares Content-Length with what is there, RFC 3261 §18.3: more than announced is cut, less is an error.
fn take_body(scanned: &mut Scanned, rest: &[u8]) {
    let length = match announced(&scanned.headers) {
        None => Some(rest.len()),
        Some(length) => length.ok().filter(|length| *length <= rest.len()),
    };
    match length.and_then(|l| rest.get(..l)) {
        Some(body) => scanned.body = body.to_vec(),
        None => _ = scanned.fault.get_or_insert("Bad Content-Length"),
    }
}
