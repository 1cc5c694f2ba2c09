//! A message as a log may show it: whole, but for what lets somebody in or listen.

/// Header fields that hold proofs of a password, or what they are made with, have one of these in their names:
/// `Authorization`, `Proxy-Authenticate`, `Authentication-Info` and so on.
const SECRET_FIELDS: [&str; 2] = ["authori", "authenti"];

/// Lines of SDP that hold keys.
const SECRET_LINES: [&str; 4] = ["a=crypto:", "a=key-mgmt:", "a=ice-pwd:", "k="];

/// The text of a message with secrets blanked: the values of digest fields, passwords in URIs, keys in SDP, and bodies that tell
/// key presses.
///
/// What is no SIP is shown as so many bytes.
#[must_use]
pub fn blanked(bytes: &[u8]) -> String {
    // A lone CR ends a line too: what stands behind it is read by somebody.
    let whole = String::from_utf8_lossy(bytes);
    let length = whole.len() - head_length(&whole);
    let text = whole.replace("\r\n", "\n").replace('\r', "\n");
    let text = without_passwords(&text);
    let (head, body) = text.split_at(head_length(&text));
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    if !first.starts_with("SIP/2.0 ") && !first.ends_with(" SIP/2.0") {
        return format!("{} bytes that are no SIP", bytes.len());
    }
    let mut shown = first.to_owned();
    let (mut is_sdp, mut is_secret) = (false, false);
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        // A folded line belongs to the field above.
        let is_folded = line.starts_with([' ', '\t']);
        if is_folded && is_secret {
            continue;
        }
        if !is_folded {
            let name = name.trim().to_ascii_lowercase();
            // Also where somebody has strewn what is no letter into it.
            let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
            is_secret = SECRET_FIELDS.iter().any(|secret| letters.contains(secret));
            is_sdp |= matches!(name.as_str(), "content-type" | "c") && value.trim().starts_with("application/sdp");
        }
        shown.push_str("\r\n");
        if is_secret {
            let scheme = value.split_whitespace().next().unwrap_or_default();
            shown.push_str(&format!("{name}: {scheme} …"));
        } else {
            shown.push_str(line);
        }
    }
    shown.push_str("\r\n\r\n");
    if !is_sdp && !body.is_empty() {
        shown.push_str(&format!("({length} bytes)"));
        return shown;
    }
    for line in body.lines() {
        let begins = line.trim_start().to_ascii_lowercase();
        let secret = SECRET_LINES.iter().find(|secret| begins.starts_with(**secret));
        shown.push_str(secret.map_or(line, |secret| secret));
        shown.push_str(if secret.is_some() { "…\r\n" } else { "\r\n" });
    }
    shown
}

/// The same without the passwords of URIs: `sip:user:password@host` (RFC 3261 §19.1.1).
fn without_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(':') {
        let scheme = rest[..at].to_ascii_lowercase();
        let (head, tail) = rest.split_at(at + 1);
        shown.push_str(head);
        rest = tail;
        if !scheme.ends_with("sip") && !scheme.ends_with("sips") {
            continue;
        }
        // What cannot stand in user and password ends them.
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"'))
            .unwrap_or(rest.len());
        // As URIs are read: the last one ends it.
        let Some((userinfo, _)) = rest[..end].rsplit_once('@') else {
            continue;
        };
        if let Some((user, password)) = userinfo.split_once(':') {
            shown.push_str(user);
            shown.push_str(":…");
            rest = &rest[user.len() + 1 + password.len()..];
        }
    }
    shown.push_str(rest);
    shown
}

/// Up to and with the first empty line, however lines end: what is not understood as a message is logged as well.
fn head_length(text: &str) -> usize {
    let mut length = 0;
    for line in text.split_inclusive('\n') {
        length += line.len();
        if line.trim_end_matches(['\r', '\n']).is_empty() {
            break;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lets_somebody_in_is_not_shown() {
        let message = "INVITE sip:anna@h SIP/2.0\r\nFrom: <sip:100@h>;tag=1\r\nauthorization:  Digest username=\"100\",\r\n \
                       response=\"5ec2e7\"\r\nProxy-Authorization: Digest response=5ec2e7\r\nContent-Type: application/sdp\r\n\r\n\
                       v=0\r\na=crypto:1 AES inline:5ec2e7\r\na=ice-pwd:5ec2e7\r\na=sendrecv\r\n";
        let shown = blanked(message.as_bytes());
        assert!(!shown.contains("5ec2e7"), "{shown}");
        for kept in [
            "INVITE sip:anna@h SIP/2.0\r\n",
            "From: <sip:100@h>;tag=1\r\n",
            "a=crypto:…\r\n",
            "a=sendrecv\r\n",
        ] {
            assert!(shown.contains(kept), "{kept} in {shown}");
        }
        let bare = message.replace("\r\n", "\n");
        let shown = blanked(bare.replace("a=ice", " A=ICE").as_bytes());
        assert!(!shown.contains("5ec2e7") && shown.contains("a=sendrecv"), "{shown}");
        let keys = "INFO sip:a@h SIP/2.0\nContent-Type: application/dtmf-relay\n\nSignal=5\n";
        assert!(!blanked(keys.as_bytes()).contains("Signal"));
        let keys = "INFO sip:a@h SIP/2.0\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=5\r\n";
        let shown = blanked(keys.as_bytes());
        assert!(!shown.contains("Signal") && shown.ends_with("(10 bytes)"), "{shown}");
        let told = "INVITE sip:anna:5ec2e7@h SIP/2.0\r\nTo: \"a: b\" <SIPS:anna:5ec2e7@h;x=y>\r\nFrom: <sip:b@h:5060>\r\n\
                    Contact: sip:5ec2e7:@h\r\nX: <sip:a:5ec2e7@5ec2e7@h>\r\nContent-Type: application/sdp\r\n\r\nv=0\r\nk=clear:5ec2e7\r\na=x\ra=crypto:5ec2e7\r\n";
        let shown = blanked(told.as_bytes());
        assert_eq!(shown.matches("5ec2e7").count(), 1, "a user is no secret: {shown}");
        for kept in [
            "INVITE sip:anna:…@h SIP/2.0",
            "<SIPS:anna:…@h;x=y>",
            "<sip:b@h:5060>",
            "sip:5ec2e7:…@h",
            "k=…",
        ] {
            assert!(shown.contains(kept), "{kept} in {shown}");
        }
        let challenge = "SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest nonce=\"5ec2e7\"\r\n\r\n";
        assert!(!blanked(challenge.as_bytes()).contains("5ec2e7"));
        assert_eq!(blanked(b"\r\n\r\n"), "4 bytes that are no SIP");
        for bytes in [&b""[..], b"\xff\xfe SIP/2.0", b"x: y SIP/2.0\r\n\r\n\r\n"] {
            assert!(blanked(bytes).len() < 100);
        }
    }
}
