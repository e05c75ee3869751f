//! A SIP message as it came: start line, header fields in their order, body; and how one is written.

use super::text::shown;
use std::borrow::Cow;
use std::ops::Range;

#[derive(Clone, Debug)]
pub enum Message {
    Request(Request),
    Response(Response),
}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub(super) method_text: Range<usize>,
    pub(super) uri: Range<usize>,
    pub headers: Headers,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub(super) reason: Range<usize>,
    pub headers: Headers,
}

impl Request {
    /// The Request-URI as written.
    pub fn uri(&self) -> &str {
        self.headers.ascii(&self.uri)
    }

    pub fn method_text(&self) -> &str {
        self.headers.ascii(&self.method_text)
    }

    pub fn body(&self) -> &[u8] {
        self.headers.slice(&self.headers.body)
    }
}

impl Response {
    pub fn reason(&self) -> Cow<'_, str> {
        shown(self.headers.slice(&self.reason))
    }

    pub fn body(&self) -> &[u8] {
        self.headers.slice(&self.headers.body)
    }
}

/// The methods this engine knows of. It serves those of [`ALLOW`]; the others are answered 405, `Other` 501.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Info,
    Update,
    Prack,
    Subscribe,
    Notify,
    Message,
    Refer,
    Publish,
    Other,
}

/// What `Allow` says.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, REGISTER";

impl Method {
    const NAMES: [(Method, &'static str); 14] = [
        (Method::Invite, "INVITE"),
        (Method::Ack, "ACK"),
        (Method::Bye, "BYE"),
        (Method::Cancel, "CANCEL"),
        (Method::Options, "OPTIONS"),
        (Method::Register, "REGISTER"),
        (Method::Info, "INFO"),
        (Method::Update, "UPDATE"),
        (Method::Prack, "PRACK"),
        (Method::Subscribe, "SUBSCRIBE"),
        (Method::Notify, "NOTIFY"),
        (Method::Message, "MESSAGE"),
        (Method::Refer, "REFER"),
        (Method::Publish, "PUBLISH"),
    ];

    /// RFC 3261 §7.1: method names are compared with case.
    pub fn named(name: &[u8]) -> Self {
        Self::NAMES.iter().find(|(_, known)| known.as_bytes() == name).map_or(Method::Other, |(method, _)| *method)
    }

    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(method, _)| *method == self).map_or("", |(_, name)| *name)
    }
}

/// Header fields, all in the one buffer of their datagram. Folded lines are joined by spaces; bytes are kept as they came.
#[derive(Clone, Debug)]
pub struct Headers {
    pub(super) bytes: Vec<u8>,
    pub(super) fields: Vec<Field>,
    pub(super) body: Range<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub name: Name,
    pub name_text: Range<usize>,
    pub value: Range<usize>,
    /// The value as text, if its bytes are no UTF-8.
    pub shown: Option<Box<str>>,
}

impl Headers {
    /// First value of a field, as text.
    pub fn get(&self, name: Name) -> Option<&str> {
        self.all(name).next()
    }

    pub fn all(&self, name: Name) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |field| field.name == name).map(|field| self.text(field))
    }

    /// The bytes as they came, for what is sent back unread.
    pub fn raw(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |field| field.name == name).map(|field| self.slice(&field.value))
    }

    /// All fields as `(name, value)` in their order, short names made long.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| {
            let name = field.name.long().unwrap_or_else(|| self.ascii(&field.name_text));
            (name, self.slice(&field.value))
        })
    }

    fn text<'a>(&'a self, field: &'a Field) -> &'a str {
        match &field.shown {
            Some(text) => text,
            None => std::str::from_utf8(self.slice(&field.value)).unwrap_or_default(),
        }
    }

    pub(super) fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    fn ascii(&self, range: &Range<usize>) -> &str {
        std::str::from_utf8(self.slice(range)).unwrap_or_default()
    }
}

macro_rules! names {
    ($($name:ident $long:literal $($short:literal)?),* $(,)?) => {
        /// Header fields this engine reads. Any other is [`Name::Other`], kept but never looked at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Name { $($name,)* Other }

        impl Name {
            /// RFC 3261 §7.3.1, §7.3.3: case means nothing; common names have a letter.
            pub fn named(name: &[u8]) -> Self {
                $(if name.eq_ignore_ascii_case($long.as_bytes()) $(|| name.eq_ignore_ascii_case($short.as_bytes()))? {
                    return Name::$name;
                })*
                Name::Other
            }

            pub fn long(self) -> Option<&'static str> {
                match self { $(Name::$name => Some($long),)* Name::Other => None }
            }
        }
    };
}

names! {
    Via "Via" "v", From "From" "f", To "To" "t", CallId "Call-ID" "i", CSeq "CSeq", Contact "Contact" "m",
    MaxForwards "Max-Forwards", ContentLength "Content-Length" "l", ContentType "Content-Type" "c", Allow "Allow",
    Route "Route", RecordRoute "Record-Route", Supported "Supported" "k", Require "Require", Expires "Expires",
    Authorization "Authorization", ContentEncoding "Content-Encoding" "e", Diversion "Diversion",
    PCalledPartyId "P-Called-Party-ID", PAssertedIdentity "P-Asserted-Identity", Accept "Accept",
    SessionExpires "Session-Expires" "x", MinSe "Min-SE",
}

impl Message {
    /// Writes the message again: the same fields in their order under their long names, one `Content-Length` that is right.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (mut writer, headers) = match self {
            Message::Request(request) => (Writer::request(request.method_text(), request.uri()), &request.headers),
            Message::Response(response) => {
                (Writer::status_line(response.status, response.headers.slice(&response.reason)), &response.headers)
            }
        };
        for (name, value) in headers.iter().filter(|(name, _)| *name != "Content-Length") {
            writer.field(name, value);
        }
        writer.finish(headers.slice(&headers.body))
    }

    pub fn headers(&self) -> &Headers {
        match self {
            Message::Request(request) => &request.headers,
            Message::Response(response) => &response.headers,
        }
    }

    pub fn body(&self) -> &[u8] {
        self.headers().slice(&self.headers().body)
    }
}

/// Builds the bytes of one message.
pub struct Writer {
    out: Vec<u8>,
}

/// Most messages of ours fit without growing.
const USUAL_SIZE: usize = 1024;

impl Writer {
    pub fn request(method: &str, uri: &str) -> Self {
        let mut writer = Self { out: Vec::with_capacity(USUAL_SIZE) };
        writer.text(&[method, " ", uri, " SIP/2.0\r\n"]);
        writer
    }

    pub fn response(status: u16) -> Self {
        Self::status_line(status, reason(status).as_bytes())
    }

    fn status_line(status: u16, reason: &[u8]) -> Self {
        let mut writer = Self { out: Vec::with_capacity(USUAL_SIZE) };
        writer.text(&["SIP/2.0 ", &status.to_string(), " "]);
        writer.bytes(reason);
        writer.bytes(b"\r\n");
        writer
    }

    pub fn field(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.bytes(name.as_bytes());
        self.bytes(b": ");
        self.bytes(value.as_ref());
        self.bytes(b"\r\n")
    }

    /// Bytes as they are: whole lines prepared before.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    fn text(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.out.extend_from_slice(part.as_bytes()));
    }

    pub fn so_far(&self) -> &[u8] {
        &self.out
    }

    /// `Content-Length`, the empty line, the body.
    pub fn finish(mut self, body: &[u8]) -> Vec<u8> {
        self.text(&["Content-Length: ", &body.len().to_string(), "\r\n\r\n"]);
        self.bytes(body);
        self.out
    }
}

/// The usual words of a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "Version Not Supported",
        603 => "Decline",
        other => match other / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Moved",
            4 => "Request Failed",
            5 => "Server Failure",
            _ => "Failure",
        },
    }
}
