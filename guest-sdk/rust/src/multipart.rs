//! `multipart/form-data` (RFC 7578): forms with files, read part by part as the body arrives.
//!
//! Memory is bounded for any client: at most a piece of the body, a boundary and the header of one part are held at a
//! time. A part is read in pieces of any size; its unread rest is skipped when the next part is requested.
//!
//! Not covered: nested multiparts, `Content-Transfer-Encoding` (both deprecated by RFC 7578, 4.3 and 4.7), `filename*`
//! (not allowed there, 4.2).

use http::StatusCode;

use crate::body::Body;
use crate::error::{Error, Rejection, Result};
use crate::fields::Fields;

/// The largest header of a part, in bytes.
const MAX_HEADER: usize = 8192;
/// The longest boundary, in bytes (RFC 2046, 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// The parts of a form, in the order in which they were sent.
///
/// ```
/// # use roadrunner_guest::{Rejection, Request};
/// fn upload(request: Request) -> Result<String, Rejection> {
///     let mut form = request.multipart()?;
///     let mut sizes = String::new();
///     while let Some(mut part) = form.next_part()? {
///         let mut size = 0;
///         while let Some(piece) = part.read()? {
///             size += piece.len();
///         }
///         sizes += &format!("{} {size}\n", part.name());
///     }
///     Ok(sizes)
/// }
/// ```
#[derive(Debug)]
pub struct Multipart {
    body: Body,
    /// CR LF, two hyphens and the boundary.
    delimiter: Vec<u8>,
    /// Bytes that were read and not yet used.
    buffer: Vec<u8>,
    at: Position,
    parts_left: usize,
}

/// The position of the buffer's first byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Position {
    /// Before the first delimiter, or in a part's bytes.
    Bytes,
    /// After a delimiter.
    Delimiter,
    /// After the last delimiter.
    End,
}

/// One part of a form. Its unread rest is skipped.
#[derive(Debug)]
pub struct Part<'a> {
    form: &'a mut Multipart,
    headers: Fields,
    name: String,
    file_name: Option<String>,
}

impl Multipart {
    /// The most parts that a form may have.
    ///
    /// # Defaults
    /// 1000
    #[must_use]
    pub fn max_parts(mut self, parts: usize) -> Self {
        self.parts_left = parts;
        self
    }

    /// Reads the parts of a body with this content type.
    ///
    /// # Errors
    /// 415 for another type, 400 without a boundary.
    pub(crate) fn new(content_type: &str, body: Body) -> Result<Self, Rejection> {
        let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        if !media_type.trim().eq_ignore_ascii_case("multipart/form-data") {
            return Err(Rejection::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be multipart/form-data"));
        }
        let boundary =
            parameter(parameters, "boundary").filter(|boundary| (1..=MAX_BOUNDARY).contains(&boundary.len()));
        let boundary = boundary.ok_or_else(|| wrong("the content type has no boundary of 1 to 70 characters"))?;
        let mut delimiter = b"\r\n--".to_vec();
        delimiter.extend_from_slice(boundary.as_bytes());
        // The first delimiter may begin the body, without its own line break.
        Ok(Self { body, delimiter, buffer: b"\r\n".to_vec(), at: Position::Bytes, parts_left: 1000 })
    }

    /// Reads the next part; `None` after the last.
    ///
    /// # Errors
    /// 400 for a body that is not multipart or was cut short, 413 above the limits on its size, on a part's header and
    /// on the number of parts.
    pub fn next_part(&mut self) -> Result<Option<Part<'_>>, Rejection> {
        while self.at == Position::Bytes {
            self.read_part()?;
        }
        if self.at == Position::Delimiter {
            self.end_delimiter()?;
        }
        if self.at == Position::End {
            return Ok(None);
        }
        self.parts_left = self.parts_left.checked_sub(1).ok_or_else(|| large("the form has too many parts"))?;
        let headers = self.read_header()?;
        self.at = Position::Bytes;
        let disposition = headers.get("content-disposition").map(String::from_utf8_lossy).unwrap_or_default();
        let (kind, parameters) = disposition.split_once(';').unwrap_or((&disposition, ""));
        let name = parameter(parameters, "name").filter(|_| kind.trim().eq_ignore_ascii_case("form-data"));
        // RFC 7578, 4.2.
        let name = name.ok_or_else(|| wrong("a part of the form has no name"))?;
        let file_name = parameter(parameters, "filename");
        Ok(Some(Part { form: self, headers, name, file_name }))
    }

    /// Reads more of the body. The body must not end before the last delimiter.
    fn fill(&mut self) -> Result<(), Rejection> {
        match self.body.read()? {
            Some(piece) => {
                self.buffer.extend_from_slice(&piece);
                Ok(())
            }
            None => Err(wrong("the form ends without its last boundary")),
        }
    }

    /// Reads the next piece of the part's bytes; `None` at its delimiter, after which the buffer then begins.
    fn read_part(&mut self) -> Result<Option<Vec<u8>>, Rejection> {
        if self.at != Position::Bytes {
            return Ok(None);
        }
        loop {
            if let Some(start) = find(&self.buffer, &self.delimiter) {
                let rest = self.buffer.split_off(start + self.delimiter.len());
                let mut piece = std::mem::replace(&mut self.buffer, rest);
                piece.truncate(start);
                self.at = Position::Delimiter;
                return Ok((!piece.is_empty()).then_some(piece));
            }
            // Bytes that could be the beginning of a delimiter stay.
            let sure = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if sure > 0 {
                let rest = self.buffer.split_off(sure);
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            self.fill()?;
        }
    }

    /// Reads the bytes after a delimiter: two hyphens at the end of the form, or the end of the line (RFC 2046, 5.1.1).
    fn end_delimiter(&mut self) -> Result<(), Rejection> {
        loop {
            if self.buffer.starts_with(b"--") {
                self.at = Position::End;
                self.buffer.clear();
                return Ok(());
            }
            let padding = self.buffer.iter().take_while(|byte| b" \t".contains(byte)).count();
            match &self.buffer[padding..] {
                [b'\r', b'\n', ..] => {
                    self.buffer.drain(..padding + 2);
                    return Ok(());
                }
                [] | [b'\r'] | [b'-'] if padding <= MAX_HEADER => self.fill()?,
                _ => return Err(wrong("a boundary of the form is followed by something else")),
            }
        }
    }

    /// Reads the header fields of a part, up to the empty line.
    fn read_header(&mut self) -> Result<Fields, Rejection> {
        let mut fields = Fields::new();
        let mut left = MAX_HEADER;
        loop {
            let Some(end) = find(&self.buffer[..self.buffer.len().min(left + 2)], b"\r\n") else {
                if self.buffer.len() > left {
                    return Err(large("the header of a part is too large"));
                }
                self.fill()?;
                continue;
            };
            let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
            left = left.saturating_sub(end + 2);
            if line.is_empty() {
                return Ok(fields);
            }
            let colon = line.iter().position(|&byte| byte == b':').ok_or_else(|| wrong("a part has a wrong header"))?;
            let name = String::from_utf8_lossy(&line[..colon]).into_owned();
            fields.push(name, line[colon + 1..].trim_ascii());
        }
    }
}

impl Part<'_> {
    /// The name of the form's field.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the file, as the client gives it: do not use it as a path. `None` for an ordinary field.
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// The content type that the client gives; `None` means `text/plain` (RFC 7578, 4.4).
    pub fn content_type(&self) -> Option<String> {
        self.headers.get("content-type").map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The header fields of the part.
    pub fn headers(&self) -> &Fields {
        &self.headers
    }

    /// Reads the next piece; `None` at the end of the part. Waits for the client.
    ///
    /// # Errors
    /// 400 for a body that is not multipart or was cut short, 408 and 413 according to the host's limits.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>, Rejection> {
        self.form.read_part()
    }

    /// Reads the rest of the part, if it is at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Part::read`], and 413 above the limit.
    pub fn bytes(&mut self, limit: usize) -> Result<Vec<u8>, Rejection> {
        let mut all = Vec::new();
        while let Some(piece) = self.read()? {
            if piece.len() > limit - all.len() {
                return Err(Error::TooLarge(limit as u64).into());
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// Reads the rest of the part as text, if it is at most `limit` bytes. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// As [`Part::bytes`].
    pub fn text(&mut self, limit: usize) -> Result<String, Rejection> {
        Ok(String::from_utf8_lossy(&self.bytes(limit)?).into_owned())
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Reads a parameter of a media type or a disposition: a token, or a quoted string.
///
/// There are two ways to write a string. In RFC 9110, 5.6.4, a backslash escapes a quote or a backslash; before any
/// other character it stands for itself here, since old clients send Windows paths. Browsers (WHATWG HTML, 4.10.21.8)
/// send backslashes unescaped, and `%22` for a quote, which stays as it is: it cannot be distinguished from a name with
/// these three characters. So all of the text is read in the first way, and in the second if that leaves a rest.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let parameters = parameters(text, escaped).or_else(|| parameters(text, verbatim))?;
    parameters.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}

/// Reads all parameters in order. `quoted` reads the text after an opening quote, and returns the value and the text
/// after the closing quote. `None` if that text is neither the end nor another parameter.
fn parameters(mut text: &str, quoted: fn(&str) -> Option<(String, &str)>) -> Option<Vec<(&str, String)>> {
    let mut parameters = Vec::new();
    loop {
        text = text.trim_start_matches([';', ' ', '\t']);
        if text.is_empty() {
            return Some(parameters);
        }
        let (name, rest) = text.split_at(text.find(['=', ';']).unwrap_or(text.len()));
        let Some(rest) = rest.strip_prefix('=') else {
            text = rest;
            continue;
        };
        let (value, rest) = match rest.trim_start_matches([' ', '\t']).strip_prefix('"') {
            Some(rest) => quoted(rest)?,
            None => {
                let (value, rest) = rest.split_at(rest.find([';', '"']).unwrap_or(rest.len()));
                (value.trim().to_owned(), rest)
            }
        };
        text = rest.trim_start_matches([' ', '\t']);
        if !(text.is_empty() || text.starts_with(';')) {
            return None;
        }
        parameters.push((name.trim_end(), value));
    }
}

fn escaped(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    loop {
        match characters.next()? {
            (end, '"') => return Some((value, &text[end + 1..])),
            (_, '\\') => {
                value.push(characters.next_if(|(_, next)| "\"\\".contains(*next)).map_or('\\', |(_, next)| next))
            }
            (_, character) => value.push(character),
        }
    }
}

/// Reads up to the quote that ends a parameter.
fn verbatim(text: &str) -> Option<(String, &str)> {
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(';');
    let end = text.match_indices('"').find(|(at, _)| ends(text[at + 1..].trim_start_matches([' ', '\t'])))?.0;
    Some((text[..end].to_owned(), &text[end + 1..]))
}

fn wrong(message: &str) -> Rejection {
    Rejection::new(StatusCode::BAD_REQUEST, message)
}

fn large(message: &str) -> Rejection {
    Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::*;
    use crate::testing::TestRequest;

    const FORM: &[u8] = b"preamble\r\n--AaB03x\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA\r\n--AaB03y\r\n\
        --AaB03x  \r\ncontent-disposition: form-data; filename=\"a \\\"b\\\";c.txt\"; name=file\r\nContent-Type: text/x\r\n\r\n\
        \r\n--AaB03x\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--AaB03x--\r\nepilogue";

    fn form(pieces: impl IntoIterator<Item = Vec<u8>>) -> Result<Multipart, Rejection> {
        let request =
            TestRequest::new("POST", "/").header("content-type", "Multipart/Form-Data; charset=x; boundary=\"AaB03x\"");
        pieces.into_iter().fold(request, TestRequest::piece).build().multipart()
    }

    /// Name, file name and content of each part.
    fn read(mut form: Multipart) -> Result<Vec<(String, Option<String>, String)>, Rejection> {
        let mut parts = Vec::new();
        while let Some(mut part) = form.next_part()? {
            let text = part.text(100)?;
            parts.push((part.name().to_owned(), part.file_name().map(str::to_owned), text));
        }
        Ok(parts)
    }

    #[test]
    fn parts_are_the_same_however_the_body_arrives() {
        let expected = [
            ("title".to_owned(), None, "A\r\n--AaB03y".to_owned()),
            ("file".to_owned(), Some("a \"b\";c.txt".to_owned()), String::new()),
            ("empty".to_owned(), None, String::new()),
        ];
        for size in 1..=FORM.len() {
            let parts = read(form(FORM.chunks(size).map(<[u8]>::to_vec)).unwrap()).unwrap();
            assert_eq!(parts, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn the_first_boundary_may_begin_the_body() {
        let body = b"--AaB03x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--AaB03x--";
        assert_eq!(read(form([body.to_vec()]).unwrap()).unwrap(), [("a".to_owned(), None, "b".to_owned())]);
        assert_eq!(read(form([b"--AaB03x--".to_vec()]).unwrap()).unwrap(), []);
    }

    #[test]
    fn a_part_that_is_not_read_is_skipped() {
        let mut form = form([FORM.to_vec()]).unwrap();
        let mut names = Vec::new();
        while let Some(part) = form.next_part().unwrap() {
            names.push((part.name().to_owned(), part.content_type()));
        }
        let type_of_file = Some("text/x".to_owned());
        assert_eq!(names, [("title".to_owned(), None), ("file".to_owned(), type_of_file), ("empty".to_owned(), None)]);
        assert!(form.next_part().unwrap().is_none());
    }

    #[test]
    fn a_large_part_is_never_held_whole() {
        let mut pieces = vec![b"--AaB03x\r\nContent-Disposition: form-data; name=a\r\n\r\n".to_vec()];
        pieces.extend((0..100).map(|_| vec![b'-'; 65536]));
        pieces.push(b"\r\n--AaB03x--".to_vec());
        let mut form = form(pieces).unwrap();
        let (mut count, mut most) = (0, 0);
        let mut part = form.next_part().unwrap().unwrap();
        while let Some(piece) = part.read().unwrap() {
            count += piece.len();
            most = most.max(piece.len() + part.form.buffer.len());
        }
        assert_eq!(count, 100 * 65536);
        assert!(most <= 2 * 65536, "{most}");
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let status = |body: &[u8]| read(form([body.to_vec()]).unwrap()).unwrap_err().status().as_u16();
        for end in [5, 20, FORM.len() - 15] {
            assert_eq!(status(&FORM[..end]), 400, "cut after {end}");
        }
        assert_eq!(status(b"--AaB03xx\r\n\r\n\r\n--AaB03x--"), 400);
        assert_eq!(status(b"--AaB03x\r\nContent-Disposition: form-data\r\n\r\n\r\n--AaB03x--"), 400);
        assert_eq!(status(b"--AaB03x\r\nContent-Disposition: file; name=a\r\n\r\n\r\n--AaB03x--"), 400);
        assert_eq!(status(b"--AaB03x\r\nno colon\r\n\r\n\r\n--AaB03x--"), 400);
        let endless = [b"--AaB03x\r\na: ".to_vec(), vec![b'a'; 100_000]].concat();
        assert_eq!(status(&endless), 413);
        let part = b"--AaB03x\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n".repeat(11);
        assert_eq!(read(form([part]).unwrap().max_parts(10)).unwrap_err().status().as_u16(), 413);
        let long = [b"--AaB03x\r\nContent-Disposition: form-data; name=a\r\n\r\n".to_vec(), vec![b'a'; 200]].concat();
        assert_eq!(status(&long), 413, "a text of more than 100 bytes");
    }

    #[test]
    fn what_stands_in_quotes_ends_where_it_ends() {
        for (text, name, file_name) in [
            (r#" name="a"; filename="b""#, "a", Some("b")),
            (r#" name="a\"; filename="b""#, r"a\", Some("b")),
            (r#" name="a\\"; filename="b""#, r"a\", Some("b")),
            (r#" filename="C:\dir\"; name="a""#, "a", Some(r"C:\dir\")),
            (r#" filename="C:\dir\b.txt"; name=a"#, "a", Some(r"C:\dir\b.txt")),
            (r#" name="a"; filename="C:\""#, "a", Some(r"C:\")),
            (r#" name="a\"; filename="b\""#, r"a\", Some(r"b\")),
            (r#" name="a\"; filename=";name=x""#, r"a\", Some(";name=x")),
            (r#" name="a \"b\";c"; filename="d""#, r#"a "b";c"#, Some("d")),
            (r#" name="a \\\"b"; filename="d""#, r#"a \"b"#, Some("d")),
            (r#" name="a"b"; filename="d""#, r#"a"b"#, Some("d")),
            (r#" name="a;b=c" ; filename = "d" "#, "a;b=c", Some("d")),
            (r#" name="a\" "#, r"a\", None),
            (r#" name="" ; x; filename="d""#, "", Some("d")),
            (r#" name=a;"#, "a", None),
        ] {
            let found = (parameter(text, "name"), parameter(text, "filename"));
            assert_eq!((found.0.as_deref(), found.1.as_deref()), (Some(name), file_name), "{text}");
        }
        for text in ["", r#" name="a"#, r#" xname="a""#, r#" x="; name=a"#, " name"] {
            assert_eq!(parameter(text, "name"), None, "{text}");
        }
    }

    #[test]
    fn other_types_are_refused() {
        let status = |content_type: &str| {
            let request = TestRequest::post("/", "").header("content-type", content_type).build();
            request.multipart().unwrap_err().status().as_u16()
        };
        assert_eq!(status("text/plain"), 415);
        assert_eq!(status("multipart/form-data"), 400);
        assert_eq!(status("multipart/form-data; boundary="), 400);
        assert_eq!(status(&format!("multipart/form-data; boundary={}", "a".repeat(71))), 400);
    }
}
