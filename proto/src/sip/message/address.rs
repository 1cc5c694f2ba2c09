//! Addresses of headers: `"Name" <uri>;params` (From, To, Contact, Route, P-Asserted-Identity).

use std::fmt;
use std::str::FromStr;

use super::LWS;
use super::uri::{Param, Uri, param};
use crate::sip::SipError;

/// A display name, a URI and header parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// Without quotes and escapes; may hold any letters.
    pub display: Option<String>,
    /// The URI.
    pub uri: Uri,
    /// Parameters after the `>`.
    pub params: Vec<Param>,
}

impl NameAddr {
    /// An address without parameters.
    #[must_use]
    pub fn new(display: Option<&str>, uri: Uri) -> Self {
        Self {
            display: display.map(str::to_owned),
            uri,
            params: Vec::new(),
        }
    }

    /// A header parameter's value; `Some("")` for a flag.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        param(&self.params, name)
    }

    /// The `tag`.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.param("tag").filter(|t| !t.is_empty())
    }

    /// The same with another `tag` (or none).
    #[must_use]
    pub fn with_tag(mut self, tag: Option<&str>) -> Self {
        self.params.retain(|p| p.name != "tag");
        self.params.extend(tag.map(|t| Param {
            name: "tag".to_owned(),
            value: Some(t.to_owned()),
        }));
        self
    }
}

impl FromStr for NameAddr {
    type Err = SipError;

    fn from_str(text: &str) -> Result<Self, SipError> {
        let text = text.trim_matches(LWS);
        let (display, rest) = if text.starts_with('"') {
            let (name, rest) = quoted(text).ok_or(SipError::BadAddress)?;
            (Some(name), rest.trim_start_matches(LWS))
        } else if let Some(open) = text.find('<') {
            let (name, rest) = text.split_at(open);
            let name = name.trim_matches(LWS);
            ((!name.is_empty()).then(|| name.to_owned()), rest)
        } else {
            // Without brackets all parameters are the header's, RFC 3261 §20.
            let (uri, params) = text.split_at(text.find([';', '?']).unwrap_or(text.len()));
            let params = if params.starts_with('?') { "" } else { params };
            return Ok(Self {
                display: None,
                uri: uri.trim_end_matches(LWS).parse()?,
                params: header_params(params),
            });
        };
        let inside = rest.strip_prefix('<').ok_or(SipError::BadAddress)?;
        let (uri, params) = inside.split_once('>').ok_or(SipError::BadAddress)?;
        let display = display.filter(|d| !d.is_empty());
        Ok(Self {
            display,
            uri: uri.trim_matches(LWS).parse()?,
            params: header_params(params),
        })
    }
}

/// Reads a quoted string at the start; gives its content and what follows.
pub(in crate::sip) fn quoted(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut out = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, inside.get(at + 1..)?)),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

/// Writes a quoted string: control characters are left out, quotes and backslashes escaped.
pub(in crate::sip) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// Splits `;a=b;c="d;e"` into parameters; quotes come off.
pub(in crate::sip) fn header_params(text: &str) -> Vec<Param> {
    split_outside(text, ';')
        .into_iter()
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .map(|p| match p.split_once('=') {
            Some((name, value)) => {
                let value = value.trim_matches(LWS);
                let value = quoted(value).map_or_else(|| value.to_owned(), |(inside, _)| inside);
                Param {
                    name: name.trim_matches(LWS).to_ascii_lowercase(),
                    value: Some(value),
                }
            }
            None => Param {
                name: p.to_ascii_lowercase(),
                value: None,
            },
        })
        .collect()
}

/// Splits at a separator outside quotes and angle brackets.
pub(in crate::sip) fn split_outside(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut in_quotes, mut in_angle, mut escaped) = (false, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' => in_quotes = !in_quotes,
            '<' if !in_quotes => in_angle = true,
            '>' if !in_quotes => in_angle = false,
            c if c == separator && !in_quotes && !in_angle => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Whether a text is a token, RFC 3261 §25.1.
pub(in crate::sip) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c))
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write!(f, "{} ", quote(display))?;
        }
        write!(f, "<{}>", self.uri)?;
        for p in self.params.iter().filter(|p| is_token(&p.name)) {
            match &p.value {
                None => write!(f, ";{}", p.name)?,
                Some(value) if is_token(value) => write!(f, ";{}={value}", p.name)?,
                Some(value) => write!(f, ";{}={}", p.name, quote(value))?,
            }
        }
        Ok(())
    }
}
