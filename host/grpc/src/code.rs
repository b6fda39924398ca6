//! The codes of a status.

use std::fmt;

use http::StatusCode;

/// The code of a status (statuscodes.md). The discriminant is the number on the wire.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Code {
    /// The call succeeded.
    Ok = 0,
    /// The caller gave the call up.
    Cancelled = 1,
    /// The cause is not known.
    Unknown = 2,
    /// The caller's argument is wrong, whatever the state of the service.
    InvalidArgument = 3,
    /// The call's deadline passed.
    DeadlineExceeded = 4,
    /// There is no such entity.
    NotFound = 5,
    /// The entity exists already.
    AlreadyExists = 6,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// A quota or a limit is used up.
    ResourceExhausted = 8,
    /// The service is not in the state that the call needs.
    FailedPrecondition = 9,
    /// The call was aborted, typically because of another one.
    Aborted = 10,
    /// The argument is past a valid range.
    OutOfRange = 11,
    /// There is no such service or method.
    Unimplemented = 12,
    /// An invariant is broken.
    Internal = 13,
    /// The service has no room at the moment; the call can be tried again.
    Unavailable = 14,
    /// Data is lost for good.
    DataLoss = 15,
    /// The caller has not shown who it is.
    Unauthenticated = 16,
}

impl Code {
    /// Every code, in the order of its number.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code with this number. A number that gRPC does not know is [`Code::Unknown`].
    pub fn of(number: u32) -> Self {
        usize::try_from(number).ok().and_then(|number| Self::ALL.get(number).copied()).unwrap_or(Self::Unknown)
    }

    /// The code for an answer that the host makes with this HTTP status.
    ///
    /// It differs from http-grpc-status-mapping.md, which is for clients that guess, where the host knows more: a limit
    /// (413, 429) is [`Code::ResourceExhausted`], and 504 is [`Code::DeadlineExceeded`].
    pub fn of_http(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST | StatusCode::INTERNAL_SERVER_ERROR => Self::Internal,
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Self::Unimplemented,
            StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::ResourceExhausted,
            StatusCode::REQUEST_TIMEOUT => Self::Cancelled,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            StatusCode::GATEWAY_TIMEOUT => Self::DeadlineExceeded,
            status if status.is_success() => Self::Ok,
            _ => Self::Unknown,
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name in logs and metrics, as other implementations have it: `DeadlineExceeded`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "Canceled",
            Self::Unknown => "Unknown",
            Self::InvalidArgument => "InvalidArgument",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::PermissionDenied => "PermissionDenied",
            Self::ResourceExhausted => "ResourceExhausted",
            Self::FailedPrecondition => "FailedPrecondition",
            Self::Aborted => "Aborted",
            Self::OutOfRange => "OutOfRange",
            Self::Unimplemented => "Unimplemented",
            Self::Internal => "Internal",
            Self::Unavailable => "Unavailable",
            Self::DataLoss => "DataLoss",
            Self::Unauthenticated => "Unauthenticated",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_the_order_of_their_numbers() {
        for (index, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), index);
            assert_eq!(Code::of(index as u32), code);
        }
        assert_eq!(Code::of(17), Code::Unknown);
        assert_eq!(Code::of(u32::MAX), Code::Unknown);
    }

    #[test]
    fn statuses_of_the_host_have_a_code() {
        for (status, code) in [
            (200, Code::Ok),
            (400, Code::Internal),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::Unimplemented),
            (405, Code::Unimplemented),
            (408, Code::Cancelled),
            (413, Code::ResourceExhausted),
            (418, Code::Unknown),
            (429, Code::ResourceExhausted),
            (500, Code::Internal),
            (501, Code::Unimplemented),
            (503, Code::Unavailable),
            (504, Code::DeadlineExceeded),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(Code::of_http(status), code, "{status}");
        }
    }
}
