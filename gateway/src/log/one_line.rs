//! Keeps each event on one line: what a phone or a stranger says is never more than a part of one, and turns no terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use tracing_subscriber::fmt::MakeWriter;

/// The longest line, in bytes; of a longer event the rest is only counted. A message of SIP has a few KB.
const MAX_LINE: usize = 8 * 1024;

/// A writer of events that escapes what would end a line or steer a terminal. It is given an event as a whole.
#[derive(Debug)]
pub(super) struct OneLine<W> {
    writer: W,
    /// The layer above colours its lines, so escape sequences pass; it escapes those of fields itself.
    ansi: bool,
}

impl<W> OneLine<W> {
    pub(super) fn new(writer: W, ansi: bool) -> Self {
        Self { writer, ansi }
    }
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine::new(self.writer.make_writer(), self.ansi)
    }
}

impl<W: io::Write> io::Write for OneLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.writer
            .write_all(escaped(&shortened(&text), self.ansi).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Whether a character changes how its neighbours are shown, or hides: what Unicode lets readers ignore (Default_Ignorable_Code_Point),
/// and blanks that are no white space. Joiners and the variation selectors of emojis stay: scripts and emojis need them.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
    ) || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}')
        || matches!(c, '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// An event that is no longer than a line may be.
fn shortened(event: &str) -> Cow<'_, str> {
    if event.len() <= MAX_LINE {
        return Cow::Borrowed(event);
    }
    let end = (0..=MAX_LINE).rev().find(|at| event.is_char_boundary(*at)).unwrap_or(0);
    Cow::Owned(format!("{}… and {} bytes more\n", &event[..end], event.len() - end))
}

/// An event without line ends but its own, control characters and marks that nobody sees.
pub(super) fn escaped(event: &str, ansi: bool) -> Cow<'_, str> {
    let (line, end) = event.strip_suffix('\n').map_or((event, ""), |line| (line, "\n"));
    let is_harmful =
        |c: char| (c.is_control() && !(ansi && c == '\u{1b}')) || matches!(c, '\u{2028}' | '\u{2029}') || is_unseen(c);
    if !line.contains(is_harmful) {
        return Cow::Borrowed(event);
    }
    let mut text = String::with_capacity(event.len() + 16);
    for c in line.chars() {
        if is_harmful(c) {
            let _ = write!(text, "{}", c.escape_default());
        } else {
            text.push(c);
        }
    }
    text.push_str(end);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_an_end() {
        let long = format!("WARN {}\n", "é".repeat(50_000));
        let shown = shortened(&long);
        assert!(
            shown.len() < MAX_LINE + 40 && shown.ends_with("bytes more\n"),
            "{}",
            shown.len()
        );
        assert_eq!(shortened("short\n"), "short\n");
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        for (event, expected) in [
            ("plain ☎ text\n", "plain ☎ text\n"),
            ("a\nb\n", "a\\nb\n"),
            ("a\r\n\n", "a\\r\\n\n"),
            ("\u{1b}[2J\u{7}\0", "\\u{1b}[2J\\u{7}\\u{0}"),
            (
                "\u{9b}1m \u{2028}\u{202e}\u{2066}",
                "\\u{9b}1m \\u{2028}\\u{202e}\\u{2066}",
            ),
            ("\t", "\\t"),
            (
                "a\u{61c}b\u{200b}\u{2060}\u{feff}\u{e0041}",
                "a\\u{61c}b\\u{200b}\\u{2060}\\u{feff}\\u{e0041}",
            ),
            (
                "\u{ad}\u{34f}\u{115f}\u{1160}\u{17b4}\u{180b}\u{2800}",
                "\\u{ad}\\u{34f}\\u{115f}\\u{1160}\\u{17b4}\\u{180b}\\u{2800}",
            ),
            (
                "\u{3164}\u{ffa0}\u{fe00}\u{1bca0}\u{1d173}\u{e0100}",
                "\\u{3164}\\u{ffa0}\\u{fe00}\\u{1bca0}\\u{1d173}\\u{e0100}",
            ),
            ("👨\u{200d}👩\u{200d}👧 6\u{fe0f}", "👨\u{200d}👩\u{200d}👧 6\u{fe0f}"),
            ("", ""),
            ("\n", "\n"),
        ] {
            assert_eq!(escaped(event, false), expected, "{event:?}");
        }
        assert_eq!(
            escaped("\u{1b}[2m12:00\u{1b}[0m a\nb\n", true),
            "\u{1b}[2m12:00\u{1b}[0m a\\nb\n"
        );
    }
}
