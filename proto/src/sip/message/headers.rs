//! The header fields of a message, stored as rsip's headers, found by name.

use rsip::headers::UntypedHeader;
use rsip::{Header, Headers as Stored};

use super::address::split_outside;

/// Names that may be written short, RFC 3261 §7.3.3 and the registry of header fields.
const COMPACT: [(&str, &str); 16] = [
    ("a", "Accept-Contact"),
    ("b", "Referred-By"),
    ("c", "Content-Type"),
    ("e", "Content-Encoding"),
    ("f", "From"),
    ("i", "Call-ID"),
    ("k", "Supported"),
    ("l", "Content-Length"),
    ("m", "Contact"),
    ("o", "Event"),
    ("r", "Refer-To"),
    ("s", "Subject"),
    ("t", "To"),
    ("u", "Allow-Events"),
    ("v", "Via"),
    ("x", "Session-Expires"),
];

/// Header fields in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    stored: Stored,
    has_odd_line_ends: bool,
}

impl Headers {
    /// Notes that a line of the head ends in another way than with one CR and one LF (RFC 3261 §7).
    pub(super) fn note_odd_line_end(&mut self) {
        self.has_odd_line_ends = true;
    }

    /// Whether two readers may see different lines here.
    pub(in crate::sip) fn has_odd_line_ends(&self) -> bool {
        self.has_odd_line_ends
    }

    /// Appends a field; a compact name is written out.
    pub(super) fn push(&mut self, name: &str, value: &str) {
        let long = COMPACT
            .iter()
            .find(|(short, _)| short.eq_ignore_ascii_case(name))
            .map_or(name, |(_, long)| long);
        let raw = rsip::headers::header::Tokenizer {
            name: long.as_bytes(),
            value: value.as_bytes(),
        };
        let header: Result<Header, rsip::Error> = raw.try_into();
        self.stored
            .push(header.unwrap_or_else(|_| Header::Other(long.to_owned(), value.to_owned())));
    }

    /// All fields as name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.stored.iter().map(name_and_value)
    }

    /// Values of all fields of a name, unsplit.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The first value of a name.
    #[must_use]
    pub fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// The elements of all comma-separated fields of a name.
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(name)
            .flat_map(|value| split_outside(value, ','))
            .map(str::trim)
            .filter(|v| !v.is_empty())
    }

    /// The stored fields, for rsip's typed readers.
    pub(super) fn stored(&self) -> &Stored {
        &self.stored
    }
}

/// Names a stored header; rsip can print it, but not tell its name.
macro_rules! names {
    ($header:expr; $($variant:ident $name:literal),* $(,)?) => {
        match $header {
            $(Header::$variant(h) => ($name, h.value()),)*
            Header::Other(name, value) => (name, value),
        }
    };
}

fn name_and_value(header: &Header) -> (&str, &str) {
    names!(header;
        Accept "Accept", AcceptEncoding "Accept-Encoding", AcceptLanguage "Accept-Language", AlertInfo "Alert-Info",
        Allow "Allow", AuthenticationInfo "Authentication-Info", Authorization "Authorization", CSeq "CSeq",
        CallId "Call-ID", CallInfo "Call-Info", Contact "Contact", ContentDisposition "Content-Disposition",
        ContentEncoding "Content-Encoding", ContentLanguage "Content-Language", ContentLength "Content-Length",
        ContentType "Content-Type", Date "Date", ErrorInfo "Error-Info", Event "Event", Expires "Expires", From "From",
        InReplyTo "In-Reply-To", MaxForwards "Max-Forwards", MimeVersion "MIME-Version", MinExpires "Min-Expires",
        Organization "Organization", Priority "Priority", ProxyAuthenticate "Proxy-Authenticate",
        ProxyAuthorization "Proxy-Authorization", ProxyRequire "Proxy-Require", RecordRoute "Record-Route",
        ReplyTo "Reply-To", Require "Require", RetryAfter "Retry-After", Route "Route", Server "Server",
        Subject "Subject", SubscriptionState "Subscription-State", Supported "Supported", Timestamp "Timestamp",
        To "To", Unsupported "Unsupported", UserAgent "User-Agent", Via "Via", Warning "Warning",
        WwwAuthenticate "WWW-Authenticate",
    )
}
