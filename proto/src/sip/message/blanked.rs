//! A message as a log may show it: whole, but for what lets somebody in or listen.

/// Header fields that hold proofs of a password, or what they are made with, have one of these in their names:
/// `Authorization`, `Proxy-Authenticate`, `Authentication-Info` and so on.
const SECRET_FIELDS: [&str; 2] = ["authori", "authenti"];

/// What may be said of such a field: any other first word of it may be a part of the proof.
const SCHEMES: [&str; 3] = ["Digest ", "Basic ", "Bearer "];

/// Lines of SDP that hold keys.
const SECRET_LINES: [&str; 5] = ["a=crypto:", "a=key-mgmt:", "a=acap:", "a=ice-pwd:", "k="];
/// What stands before a key in a line of any other kind.
const KEY: &str = "inline:";

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
            // Of a line without a colon all may be secret but the first word.
            let name = name.split_whitespace().next().unwrap_or_default();
            let scheme = value.split_whitespace().next().unwrap_or_default();
            let scheme = SCHEMES
                .iter()
                .find(|known| known.trim_end().eq_ignore_ascii_case(scheme));
            shown.push_str(&format!("{name}: {}…", scheme.copied().unwrap_or_default()));
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
        let begins: String = line.split_whitespace().collect::<String>().to_ascii_lowercase();
        // SDP folds no lines; somebody may read it so all the same.
        if line.starts_with([' ', '\t']) {
            shown.push_str("…\r\n");
            continue;
        }
        let secret = SECRET_LINES.iter().find(|secret| begins.starts_with(**secret));
        let has_key = begins.contains(KEY);
        let told = match (secret, line.split_once([':', '='])) {
            (Some(secret), _) => secret,
            (None, Some((name, _))) if has_key => name,
            (None, _) => line,
        };
        shown.push_str(told);
        shown.push_str(if secret.is_some() || has_key { "…\r\n" } else { "\r\n" });
    }
    shown
}

/// The same without the passwords of URIs of any scheme, `sip:user:password@host` and `http://user:password@host`, and without the header
/// fields that a URI asks for (RFC 3261 §19.1.1): one may be a login.
fn without_passwords(text: &str) -> String {
    // What cannot stand in a URI ends it.
    let is_end = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"');
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive(is_end) {
        let is_uri = word.contains(':');
        let (uri, asked) = word.split_once('?').filter(|_| is_uri).unwrap_or((word, ""));
        // As URIs are read: the last `@` ends what stands before the host, and a password may hold question marks.
        let end = if asked.contains('@') { word } else { uri };
        let (before, host) = end.rsplit_once('@').unwrap_or(("", end));
        let scheme = before.find(':').map_or(0, |at| at + 1);
        let (scheme, userinfo) = before.split_at(scheme);
        match userinfo.split_once(':') {
            Some((user, _)) => shown.push_str(&format!("{scheme}{user}:…@{host}")),
            None => shown.push_str(end),
        }
        if end.len() < word.len() {
            shown.push_str("?…");
            shown.extend(word.chars().next_back().filter(|last| is_end(*last)));
        }
    }
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
        // Whatever the scheme, and where fields are asked for.
        for field in [
            "Call-Info: <http://anna:5ec2e7@h/a.png>",
            "Alert-Info: <HTTPS://5ec2e7@h:5ec2e7@h/ring.wav>;x=y",
            "Error-Info: ftp://anna:5ec2e7@h/x",
            "X: <sip:anna:5ec?5ec2e7@h>",
            "Refer-To: <sip:anna@h?Authorization=5ec2e7>",
            "Authentication-Info: rspauth=\"5ec2e7\",qop=auth",
            "Authentication-Info:nextnonce=\"n\",rspauth=\"5ec2e7\"",
            "Authorization Digest response=5ec2e7",
            "Proxy-Authorization 5ec2e7: x",
        ] {
            let shown = blanked(format!("OPTIONS sip:h SIP/2.0\r\n{field}\r\n\r\n").as_bytes());
            let (users, name) = (
                shown.matches("5ec2e7@h:…").count(),
                field.split([':', ' ']).next().unwrap(),
            );
            assert_eq!(shown.matches("5ec2e7").count(), users, "{shown}");
            assert!(
                shown.to_ascii_lowercase().contains(&name.to_ascii_lowercase()),
                "{shown}"
            );
        }
        let sdp = "v=0\r\nu=http://anna:5ec2e7@h/\r\na = crypto:1 X inline:5ec2e7\r\na=x:1\r\n inline:5ec2e7\r\na=acap:1 crypto:1 X inline:5ec2e7\r\n\
                   a=acap:2 key-mgmt:mikey 5ec2e7\r\na=new:1 Inline:5ec2e7\r\na=sendrecv\r\n";
        let shown = blanked(format!("INVITE sip:h SIP/2.0\r\nc: application/sdp\r\n\r\n{sdp}").as_bytes());
        assert!(!shown.contains("5ec2e7") && shown.contains("a=sendrecv"), "{shown}");
        let challenge = "SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: digest nonce=\"5ec2e7\"\r\n\r\n";
        let shown = blanked(challenge.as_bytes());
        assert!(
            !shown.contains("5ec2e7") && shown.contains("WWW-Authenticate: Digest …"),
            "{shown}"
        );
        assert_eq!(blanked(b"\r\n\r\n"), "4 bytes that are no SIP");
        for bytes in [&b""[..], b"\xff\xfe SIP/2.0", b"x: y SIP/2.0\r\n\r\n\r\n"] {
            assert!(blanked(bytes).len() < 100);
        }
    }
}
