//! PUT and HEAD of an S3-compatible store, path-style, signed by AWS Signature Version 4.

use crate::clock::Moment;
use crate::config::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The store's address, taken apart once.
#[derive(Clone, Debug)]
pub struct Address {
    /// With the scheme, without a slash at the end.
    base: String,
    host: String,
    bucket: String,
}

impl Address {
    pub fn new(url: &str, bucket: &str) -> Address {
        let base = url.trim_end_matches('/').to_owned();
        let host = base.split_once("://").map_or(base.as_str(), |(_, host)| host).to_owned();
        Address { base, host, bucket: bucket.to_owned() }
    }

    /// The path that is signed and sent alike: each byte that is not unreserved is escaped, slashes are not.
    pub fn path(&self, name: &str) -> String {
        format!("/{}/{}", escaped(&self.bucket), escaped(name))
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub fn host(&self) -> &str {
        &self.host
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => escaped.push(char::from(byte)),
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

#[derive(Clone, Debug)]
pub struct Signer {
    pub region: String,
    pub access_key: String,
    pub secret: Secret,
}

impl Signer {
    /// The `Authorization` of a request without a query. `headers` are those that are signed, names in lower case; `host`,
    /// `x-amz-date` and `x-amz-content-sha256` are among them.
    pub fn authorization(&self, now: Moment, method: &str, path: &str, headers: &[(&str, &str)], body_sha256: &str) -> String {
        let time = amz_date(now);
        let day = time.get(..8).unwrap_or_default();
        let mut headers = headers.to_vec();
        headers.sort_unstable();
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let canonical = format!("{method}\n{path}\n\n{lines}\n{names}\n{body_sha256}");
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let signed = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let key = [day, &self.region, "s3", "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.secret.expose()).into_bytes(), |key, part| hmac(&key, part).to_vec());
        let signature = hex::encode(hmac(&key, &signed));
        format!("AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}", self.access_key)
    }
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// `20130524T000000Z`.
pub fn amz_date(now: Moment) -> String {
    let at = jiff::Timestamp::from_microsecond(i64::try_from(now.0).unwrap_or(i64::MAX)).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Example: PUT Object" and "GET Object" of the Amazon S3 API Reference, "Signature Calculations for the Authorization Header".
    #[test]
    fn published_examples_have_their_published_signatures() {
        let signer = Signer {
            region: "us-east-1".into(),
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        };
        let now = Moment::from_secs(1_369_353_600);
        let body = hex::encode(Sha256::digest("Welcome to Amazon S3."));
        let put = signer.authorization(
            now,
            "PUT",
            &format!("/{}", escaped("test$file.text")),
            &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-content-sha256", &body),
                ("x-amz-date", &amz_date(now)),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            &body,
        );
        assert!(put.ends_with("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"), "{put}");
        let empty = hex::encode(Sha256::digest(""));
        let get = signer.authorization(
            now,
            "GET",
            "/test.txt",
            &[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("range", "bytes=0-9"),
                ("x-amz-content-sha256", &empty),
                ("x-amz-date", &amz_date(now)),
            ],
            &empty,
        );
        assert!(get.ends_with("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"), "{get}");
    }
}
