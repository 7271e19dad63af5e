//! Answers that the load balancer gives itself, byte for byte as an Application Load Balancer writes them.

use http::header::{CONTENT_TYPE, HeaderValue, SERVER};
use http::{Response, StatusCode};

use super::body::Inbound;

/// What the load balancer calls itself.
pub const AWSELB: HeaderValue = HeaderValue::from_static("awselb/2.0");

/// An error page such as `502 Bad Gateway`. The words after the number are the load balancer's own.
pub fn page(status: StatusCode) -> Response<Inbound> {
    own(
        status,
        HeaderValue::from_static("text/html"),
        html(status).into_bytes(),
    )
}

/// The same as the bytes of a whole response, after which the connection ends.
pub fn bytes(status: StatusCode) -> Vec<u8> {
    let html = html(status);
    let reason = status.canonical_reason().unwrap_or_default();
    format!(
        "HTTP/1.1 {} {reason}\r\nserver: awselb/2.0\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{html}",
        status.as_u16(),
        html.len()
    )
    .into_bytes()
}

fn html(status: StatusCode) -> String {
    let title = match status.as_u16() {
        408 => "Request Time-out",
        460 => "Client Closed Connection",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => status.canonical_reason().unwrap_or("Error"),
    };
    let title = format!("{} {title}", status.as_u16());
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
}

/// A response of the load balancer itself.
pub fn own(status: StatusCode, kind: HeaderValue, body: Vec<u8>) -> Response<Inbound> {
    let mut response = Response::new(Inbound::own(body));
    *response.status_mut() = status;
    response.headers_mut().insert(SERVER, AWSELB);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Body;

    #[test]
    fn error_pages_have_the_lengths_of_the_real_ones() {
        for (status, length) in [
            (StatusCode::BAD_GATEWAY, 122),
            (StatusCode::SERVICE_UNAVAILABLE, 162),
            (StatusCode::GATEWAY_TIMEOUT, 132),
        ] {
            assert_eq!(page(status).body().size_hint().exact(), Some(length));
        }
    }
}
