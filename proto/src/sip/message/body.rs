//! Bodies: the part that is wanted of one that has several (RFC 2046 §5.1, RFC 5621).

use super::{Headers, Param, header_params, param};

/// SDP, which a body is taken for that does not say what it is.
pub(in crate::sip) const SDP: &str = "application/sdp";

/// How deep parts may hold parts, and how many a body may have.
const MAX_DEPTH: usize = 3;
const MAX_PARTS: usize = 16;

/// The body has a part that must be understood and is not: 415.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sip) struct Unsupported;

/// A part of a body, or all of it: its type and what it holds.
pub(in crate::sip) type Part<'a> = (String, &'a [u8]);

/// Finds the first part of one of these types; a body that is empty, or that need not be understood, has none.
///
/// # Errors
/// [`Unsupported`] if the body is of another type, is encoded, or has a part with `handling=required` of another type.
pub(in crate::sip) fn part_of<'a>(
    headers: &Headers,
    body: &'a [u8],
    wanted: &[&str],
) -> Result<Option<Part<'a>>, Unsupported> {
    if body.is_empty() {
        return Ok(None);
    }
    let encodings = ["Content-Encoding", "Content-Transfer-Encoding"].map(|name| headers.get(name).unwrap_or_default());
    let found = find(
        Described {
            kind: headers.get("Content-Type").unwrap_or(SDP),
            encodings,
            body,
        },
        wanted,
        0,
    )?;
    match found {
        Some(part) => Ok(Some(part)),
        None if is_optional(headers.get("Content-Disposition").unwrap_or_default()) => Ok(None),
        None => Err(Unsupported),
    }
}

/// The SDP of a body, if it has any in clear.
#[must_use]
pub fn sdp_of(headers: &Headers, body: &[u8]) -> Option<Vec<u8>> {
    let part = part_of(headers, body, &[SDP]).ok().flatten();
    part.map(|(_, sdp)| sdp.to_vec())
}

/// A body and what is said of it.
struct Described<'a, 'b> {
    kind: &'b str,
    encodings: [&'b str; 2],
    body: &'a [u8],
}

fn find<'a>(it: Described<'a, '_>, wanted: &[&str], depth: usize) -> Result<Option<Part<'a>>, Unsupported> {
    let (kind, params) = split(it.kind);
    let is_plain = |encoding: &str| {
        let plain = ["", "identity", "binary", "8bit", "7bit"];
        plain.iter().any(|plain| encoding.trim().eq_ignore_ascii_case(plain))
    };
    if !it.encodings.into_iter().all(is_plain) {
        return Ok(None);
    }
    if wanted.contains(&kind.as_str()) {
        return Ok(Some((kind, it.body)));
    }
    let boundary = param(&params, "boundary").filter(|boundary| (1..=70).contains(&boundary.len()));
    let (Some(boundary), true) = (boundary.filter(|_| kind.starts_with("multipart/")), depth < MAX_DEPTH) else {
        return Ok(None);
    };
    let mut found = None;
    for part in parts(it.body, boundary).into_iter().take(MAX_PARTS) {
        let (fields, body) = fields_of(part);
        let field = |name: &str| {
            let is_it = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
            fields.iter().find(is_it).map_or("", |(_, value)| value.as_str())
        };
        let inner = Described {
            kind: field("Content-Type"),
            encodings: [field("Content-Encoding"), field("Content-Transfer-Encoding")],
            body,
        };
        // Of early media there is another description (RFC 3959); it is not of the session.
        let (disposition, _) = split(field("Content-Disposition"));
        if disposition == "early-session" {
            continue;
        }
        match find(inner, wanted, depth + 1)? {
            Some(part) => found = found.or(Some(part)),
            // In an alternative the others need not be understood.
            None if is_required(field("Content-Disposition")) && kind != "multipart/alternative" => {
                return Err(Unsupported);
            }
            None => {}
        }
    }
    Ok(found)
}

/// A type without its parameters, in lower case, and these.
fn split(kind: &str) -> (String, Vec<Param>) {
    let (kind, params) = kind.split_once(';').unwrap_or((kind, ""));
    (kind.trim().to_ascii_lowercase(), header_params(params))
}

fn handling(disposition: &str) -> Option<String> {
    let (_, params) = split(disposition);
    param(&params, "handling").map(str::to_ascii_lowercase)
}

fn is_optional(disposition: &str) -> bool {
    handling(disposition).as_deref() == Some("optional")
}

fn is_required(disposition: &str) -> bool {
    handling(disposition).as_deref() == Some("required")
}

/// What stands between the delimiter lines; the last may lack its own.
fn parts<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let delimiter = format!("--{boundary}");
    let (mut parts, mut begin) = (Vec::new(), None::<usize>);
    let mut at = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let end = at + line.len();
        let text = line.trim_ascii_end();
        let closes = text.strip_prefix(delimiter.as_bytes());
        if let Some(rest) = closes.filter(|rest| rest.is_empty() || *rest == b"--") {
            if let Some(begin) = begin {
                parts.push(without_newline(&body[begin..at]));
            }
            begin = rest.is_empty().then_some(end);
            if begin.is_none() {
                return parts;
            }
        }
        at = end;
    }
    if let Some(begin) = begin {
        parts.push(&body[begin..]);
    }
    parts
}

/// The line end before a delimiter belongs to the delimiter.
fn without_newline(part: &[u8]) -> &[u8] {
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    part.strip_suffix(b"\r").unwrap_or(part)
}

/// The fields of a part, and what follows the empty line.
fn fields_of(part: &[u8]) -> (Vec<(String, String)>, &[u8]) {
    let mut fields = Vec::<(String, String)>::new();
    let mut at = 0;
    for line in part.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        if text.is_empty() {
            break;
        }
        if let Some((_, value)) = fields.last_mut().filter(|_| text.starts_with([' ', '\t'])) {
            value.push(' ');
            value.push_str(text.trim());
        } else if let Some((name, value)) = text.split_once(':') {
            fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    (fields, &part[at..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::{Message, Request};

    fn request(fields: &str, body: &str) -> Request {
        let text = format!(
            "INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=t\r\nTo: <sip:b@x>\r\n\
             Call-ID: c\r\nCSeq: 1 INVITE\r\n{fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        match Message::parse(text.as_bytes()) {
            Ok(Message::Request(request)) => *request,
            other => panic!("{other:?}"),
        }
    }

    /// What is found, as text; `415` if the body is refused.
    fn found(fields: &str, body: &str) -> String {
        let request = request(fields, body);
        match part_of(&request.headers, &request.body, &[SDP]) {
            Ok(None) => String::new(),
            Ok(Some((kind, body))) => format!("{kind} {}", String::from_utf8_lossy(body)),
            Err(Unsupported) => "415".to_owned(),
        }
    }

    const MIXED: &str = "Content-Type: multipart/mixed;boundary=\"b 1\"\r\n";

    /// As switches and location servers send it.
    #[test]
    fn sdp_is_found_beside_isup_and_location() {
        let isup = "--b 1\r\nContent-Type: application/ISUP;version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n\r\n\u{1}\u{2}\r\n";
        let location = "--b 1\r\nContent-Type: application/pidf+xml\r\nContent-ID: <x@y>\r\n\r\n<presence/>\r\n";
        let sdp = "--b 1\r\ncontent-type:application/SDP\r\n\r\nv=0\r\ns=-\r\n";
        for body in [
            format!("{sdp}{isup}--b 1--\r\n"),
            format!("preamble\r\n{isup}{sdp}--b 1--\r\nepilogue"),
            format!("{location}{sdp}--b 1--"),
            format!("{sdp}{location}{isup}--b 1--\r\n").replace("\r\n", "\n"),
        ] {
            let expected = "application/sdp v=0\r\ns=-";
            assert_eq!(
                found(MIXED, &body).replace('\n', "\r\n").replace("\r\r", "\r"),
                expected,
                "{body}"
            );
        }
        // A body that breaks off has what came.
        assert!(found(MIXED, sdp).starts_with("application/sdp v=0"));
    }

    #[test]
    fn parts_hold_parts() {
        let inner = "--in\r\nContent-Type: text/plain\r\n\r\nx\r\n--in\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--in--\r\n";
        let alternative =
            format!("--b 1\r\nContent-Type: multipart/alternative;\r\n boundary=in\r\n\r\n{inner}\r\n--b 1--\r\n");
        assert_eq!(found(MIXED, &alternative), "application/sdp v=0");
    }

    #[test]
    fn handling_says_what_must_be_understood() {
        let part = |kind: &str, disposition: &str| format!("--b 1\r\nContent-Type: {kind}\r\n{disposition}\r\nv=0\r\n");
        let sdp = part("application/sdp", "");
        let required = part("application/x", "Content-Disposition: signal;handling=required\r\n");
        assert_eq!(found(MIXED, &format!("{sdp}{required}--b 1--")), "415");
        assert_eq!(found("Content-Type: application/x\r\n", "x"), "415");
        assert_eq!(
            found(
                "Content-Type: application/x\r\nContent-Disposition: signal;handling=\"Optional\"\r\n",
                "x"
            ),
            ""
        );
        assert_eq!(found(MIXED, &format!("{}--b 1--", part("application/x", ""))), "415");
        let optional = format!("{MIXED}Content-Disposition: render;handling=optional\r\n");
        assert_eq!(found(&optional, &format!("{}--b 1--", part("application/x", ""))), "");
        assert_eq!(
            found("Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n", "x"),
            "415"
        );
        assert_eq!(
            found("Content-Type: application/sdp\r\nContent-Encoding: identity\r\n", "v=0"),
            "application/sdp v=0"
        );
        assert_eq!(found("", "v=0"), "application/sdp v=0");
        assert_eq!(
            found("Content-Type: multipart/mixed\r\n", "--\r\n\r\n"),
            "415",
            "no boundary"
        );
        assert_eq!(found("", ""), "");
    }
}
