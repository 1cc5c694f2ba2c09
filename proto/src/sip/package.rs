//! What phones may ask to be told of (RFC 6665): what other phones do (`dialog`, RFC 4235), and the calls that they have missed
//! (`message-summary`, RFC 3842). Writes the bodies.

/// An event package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Package {
    /// Whether a phone is in a call.
    Dialog,
    /// Whether there is something that waits for the owner of a phone.
    MessageSummary,
}

/// All packages, as `Allow-Events` has them.
pub(in crate::sip) const ALLOW_EVENTS: &str = "dialog, message-summary";

impl Package {
    pub(in crate::sip) fn of(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "dialog" => Some(Self::Dialog),
            "message-summary" => Some(Self::MessageSummary),
            _ => None,
        }
    }

    /// The type of its bodies.
    pub(in crate::sip) fn content_type(self) -> &'static str {
        match self {
            Self::Dialog => "application/dialog-info+xml",
            Self::MessageSummary => "application/simple-message-summary",
        }
    }
}

/// What a phone does, as a lamp shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// It is in no call.
    #[default]
    Free,
    /// It calls somebody who has not taken the call.
    Calling,
    /// It rings.
    Ringing,
    /// It talks.
    Talking,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageState {
    /// Of [`Package::Dialog`].
    Line(Line),
    /// Of [`Package::MessageSummary`]: calls that were missed.
    Missed(u32),
}

impl PackageState {
    /// The body for the watcher of this address, the `version`th one.
    pub(in crate::sip) fn body(self, entity: &str, version: u32) -> String {
        match self {
            Self::Line(line) => dialog_info(line, entity, version),
            Self::Missed(calls) => {
                let waiting = if calls > 0 { "yes" } else { "no" };
                format!("Messages-Waiting: {waiting}\r\nMessage-Account: {entity}\r\nVoice-Message: {calls}/0\r\n")
            }
        }
    }
}

/// One dialog stands for all that a phone may have: a lamp needs no more, and nobody learns who talks with whom.
fn dialog_info(line: Line, entity: &str, version: u32) -> String {
    let (direction, state) = match line {
        Line::Free => ("", "terminated"),
        Line::Calling => (" direction=\"initiator\"", "early"),
        Line::Ringing => (" direction=\"recipient\"", "early"),
        Line::Talking => ("", "confirmed"),
    };
    let entity = escaped(entity);
    format!(
        "<?xml version=\"1.0\"?>\n\
         <dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{version}\" state=\"full\" entity=\"{entity}\">\n\
         <dialog id=\"line\"{direction}><state>{state}</state></dialog>\n\
         </dialog-info>\n"
    )
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_as_phones_read_them() {
        let body = PackageState::Line(Line::Ringing).body("sip:1\"<&>01@gw", 7);
        assert!(
            body.contains("version=\"7\" state=\"full\" entity=\"sip:1&quot;&lt;&amp;&gt;01@gw\""),
            "{body}"
        );
        assert!(body.contains("direction=\"recipient\"><state>early</state>"), "{body}");
        assert!(
            PackageState::Line(Line::Free)
                .body("sip:101@gw", 0)
                .contains("<state>terminated</state>")
        );
        let told = PackageState::Missed(2).body("sip:100@gw", 0);
        assert_eq!(
            told,
            "Messages-Waiting: yes\r\nMessage-Account: sip:100@gw\r\nVoice-Message: 2/0\r\n"
        );
        assert!(
            PackageState::Missed(0)
                .body("sip:100@gw", 0)
                .starts_with("Messages-Waiting: no\r\n")
        );
    }
}
