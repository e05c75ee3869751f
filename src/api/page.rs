//! The live board: one page without a framework, in the binary.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const BOARD: &str = include_str!("board.html");
/// The page loads nothing from elsewhere and talks to this engine only; all text from the engine is set as text.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The live board. It holds no data itself; it asks for the token and then watches `/api/v1/events`.
#[utoipa::path(get, path = "/", tag = "floor", security(()), responses((status = 200, description = "HTML", content_type = "text/html")))]
pub async fn board() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, BOARD).into_response()
}
