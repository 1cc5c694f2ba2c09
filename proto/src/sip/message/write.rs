//! Messages to bytes. The one place where text becomes header lines: no value can start a line of its own.

/// Builds one message.
pub(in crate::sip) struct Writer(String);

impl Writer {
    /// Starts a request.
    pub(in crate::sip) fn request(method: &str, uri: &str) -> Self {
        let mut writer = Self(String::with_capacity(1024));
        writer.line(&[method, " ", uri, " SIP/2.0"]);
        writer
    }

    /// Starts a response; without words of its own the status' usual ones are taken.
    pub(in crate::sip) fn response(status: u16, reason: Option<&str>) -> Self {
        let mut writer = Self(String::with_capacity(1024));
        writer.line(&[
            "SIP/2.0 ",
            &status.to_string(),
            " ",
            reason.unwrap_or(reason_phrase(status)),
        ]);
        writer
    }

    /// Appends a field.
    pub(in crate::sip) fn header(&mut self, name: &str, value: &str) -> &mut Self {
        self.line(&[name, ": ", value]);
        self
    }

    /// Ends the message with a body, or an empty one.
    pub(in crate::sip) fn finish(mut self, body: Option<(&str, &[u8])>) -> Vec<u8> {
        let (kind, body) = body.unwrap_or(("", &[]));
        if !body.is_empty() {
            self.header("Content-Type", kind);
        }
        self.header("Content-Length", &body.len().to_string());
        self.0.push_str("\r\n");
        let mut bytes = self.0.into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    fn line(&mut self, parts: &[&str]) {
        self.0
            .extend(parts.iter().flat_map(|p| p.chars()).filter(|c| !c.is_control()));
        self.0.push_str("\r\n");
    }
}

/// What a status is called, RFC 3261 §21 and the registry.
pub(in crate::sip) fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        s if s < 200 => "Progress",
        s if s < 300 => "OK",
        s if s < 400 => "Redirected",
        s if s < 500 => "Request Failed",
        s if s < 600 => "Server Failed",
        _ => "Declined",
    }
}
