//! The requests of a native test, which [`crate::testing::TestHost::origin`] answers when the body is whole.

use super::{Failure, Timeouts};
use crate::fields::Fields;
use crate::native::with_host;

#[derive(Debug)]
pub(super) struct Sending {
    request: Option<http::Request<Vec<u8>>>,
    origin: String,
}

impl Sending {
    pub(super) fn start(head: &http::request::Parts, _: Timeouts) -> Result<Self, Failure> {
        let (scheme, authority) = (head.uri.scheme_str().unwrap_or_default(), head.uri.authority());
        let origin = format!("{scheme}://{}", authority.map_or("", |authority| authority.as_str()));
        if !with_host(|host| host.origins.contains_key(&origin)) {
            return Err(Failure::Denied);
        }
        Ok(Self { request: Some(http::Request::from_parts(head.clone(), Vec::new())), origin })
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> bool {
        self.request.as_mut().is_some_and(|request| {
            request.body_mut().extend_from_slice(piece);
            true
        })
    }

    pub(super) fn finish(&mut self, _: Fields) -> Result<(), Failure> {
        Ok(())
    }

    pub(super) fn head(&mut self) -> Result<(u16, Fields, Receiving), Failure> {
        let taken = || Failure::Other("its answer was taken already".to_owned());
        let request = self.request.take().ok_or_else(taken)?;
        let answer = with_host(|host| host.origins.get(&self.origin).cloned()).ok_or(Failure::Denied)?;
        let (head, body) = (answer.0)(request).into_parts();
        Ok((head.status.as_u16(), head.headers.into(), Receiving { body }))
    }
}

#[derive(Debug)]
pub(super) struct Receiving {
    body: Vec<u8>,
}

impl Receiving {
    pub(super) fn read(&mut self, max: u64) -> Result<Option<Vec<u8>>, Failure> {
        let length = self.body.len().min(usize::try_from(max).unwrap_or(usize::MAX));
        let piece: Vec<u8> = self.body.drain(..length).collect();
        Ok((!piece.is_empty()).then_some(piece))
    }

    pub(super) fn trailers(&mut self) -> Result<Fields, Failure> {
        Ok(Fields::new())
    }
}
