//! Digest authentication (RFC 7616, RFC 3261 §22): who may register a phone, and how we answer when we are asked.
//!
//! A nonce is signed, not stored, so strangers who ask for millions of them cost nothing. Only nonces with which somebody proved a
//! password are kept, to see that their count goes up.

use crate::clock::Moment;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a nonce is good. A phone that refreshes later is asked again with `stale=true`, which it answers by itself.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(300);
/// Proven nonces remembered. Beyond it the oldest goes, and it and all older ones count as stale: nothing can be replayed.
const PROVEN_MAX: usize = 10_000;
/// Longest Authorization read; a real one has some 300 bytes.
const LENGTH_MAX: usize = 4 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Granted {
        user: String,
    },
    /// The password is right, the nonce is too old, used up or not ours: challenge again with `stale=true`.
    Stale,
    Denied,
}

/// Gives out nonces and checks what comes back.
#[derive(Clone)]
pub struct Nonces {
    secret: [u8; 32],
    given: u64,
    /// Highest count seen of each nonce somebody proved a password with.
    proven: BTreeMap<NonceId, u32>,
    /// Nonces up to this one are stale, whatever their age.
    forgotten: NonceId,
}

/// When a nonce was given out, and which one it was.
type NonceId = (Moment, u64);

impl Nonces {
    /// `secret` signs the nonces; a new one for each life of the engine, since the counts seen do not outlive it.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret, given: 0, proven: BTreeMap::new(), forgotten: (Moment::ZERO, 0) }
    }

    /// Values for `WWW-Authenticate`, one header each. With `sha256_first` the strong one stands first and phones that know only MD5
    /// take the second (RFC 7616 §3.7). Unknown users must get the same as known ones.
    pub fn challenge(&mut self, now: Moment, realm: &str, sha256_first: bool, stale: bool) -> Vec<String> {
        self.given = self.given.wrapping_add(1);
        let nonce = self.sign((now, self.given), realm);
        let stale = if stale { ", stale=true" } else { "" };
        let algorithms: &[Algorithm] = if sha256_first { &[Algorithm::Sha256, Algorithm::Md5] } else { &[Algorithm::Md5] };
        let one = |algorithm: &Algorithm| {
            format!(r#"Digest realm="{realm}", nonce="{nonce}", algorithm={}, qop="auth"{stale}"#, algorithm.name())
        };
        algorithms.iter().map(one).collect()
    }

    /// Judges an `Authorization` value. `uri` is the request's. The same work is done for a user who does not exist.
    pub fn check(
        &mut self,
        now: Moment,
        authorization: &str,
        method: &str,
        uri: &str,
        realm: &str,
        password_of: impl Fn(&str) -> Option<String>,
    ) -> Verdict {
        let Some(claim) = Claim::parse(authorization).filter(|claim| claim.realm == realm && same_resource(claim.uri, uri))
        else {
            return Verdict::Denied;
        };
        let password = password_of(claim.user);
        let known = password.is_some();
        let expected = claim.response_for(&password.unwrap_or_default(), method);
        let right = equal_in_constant_time(expected.as_bytes(), claim.response.to_ascii_lowercase().as_bytes());
        // A stranger learns nothing about a nonce: whether it is stale is said only to who knows the password (RFC 7616 §3.3).
        if !(right && known) {
            return Verdict::Denied;
        }
        match self.read(claim.nonce, realm) {
            Some(id) if id.0 <= now && now.since(id.0) <= NONCE_LIFETIME && self.counts_up(now, id, claim.count) => {
                Verdict::Granted { user: claim.user.to_owned() }
            }
            Some(_) | None => Verdict::Stale,
        }
    }

    /// RFC 7616 §3.4.5: each use of a nonce has a higher count, or it is a replay.
    fn counts_up(&mut self, now: Moment, id: NonceId, count: u32) -> bool {
        while let Some(oldest) = self.proven.first_entry()
            && now.since(oldest.key().0) > NONCE_LIFETIME
        {
            oldest.remove();
        }
        if id <= self.forgotten || self.proven.get(&id).is_some_and(|seen| count <= *seen) {
            return false;
        }
        self.proven.insert(id, count);
        if self.proven.len() > PROVEN_MAX
            && let Some((oldest, _)) = self.proven.pop_first()
        {
            self.forgotten = oldest;
        }
        true
    }

    fn sign(&self, (at, number): NonceId, realm: &str) -> String {
        format!("{:016x}{number:016x}{}", at.0, hex::encode(&self.signature((at, number), realm)[..16]))
    }

    fn signature(&self, (at, number): NonceId, realm: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        mac.update(&at.0.to_be_bytes());
        mac.update(&number.to_be_bytes());
        mac.update(realm.as_bytes());
        mac.finalize().into_bytes().into()
    }

    fn read(&self, nonce: &str, realm: &str) -> Option<NonceId> {
        let bytes: [u8; 32] = hex::decode(nonce).ok()?.try_into().ok()?;
        let (at, rest) = bytes.split_first_chunk::<8>()?;
        let (number, signature) = rest.split_first_chunk::<8>()?;
        let id = (Moment(u64::from_be_bytes(*at)), u64::from_be_bytes(*number));
        let ours = self.signature(id, realm);
        equal_in_constant_time(ours.first_chunk::<16>()?, signature).then_some(id)
    }
}

/// Answers one challenge as a client: the value for `Authorization` or `Proxy-Authorization`. `None` for a challenge we do not take
/// (no realm or nonce, another algorithm, only `auth-int`). `cnonce` must be fresh; `count` is how often this nonce was used, from 1.
pub fn answer_challenge(
    challenge: &str,
    user: &str,
    password: &str,
    method: &str,
    uri: &str,
    cnonce: &str,
    count: u32,
) -> Option<String> {
    let fields = fields(challenge)?;
    let algorithm = Algorithm::named(fields.get("algorithm").copied())?;
    let (realm, nonce) = (*fields.get("realm")?, *fields.get("nonce")?);
    let auth = match fields.get("qop") {
        Some(offered) if offered.split(',').any(|qop| qop.trim().eq_ignore_ascii_case("auth")) => true,
        Some(_) => return None,
        None => false,
    };
    let name = algorithm.name();
    let head = format!(r#"Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", algorithm={name}"#);
    let a1 = algorithm.hash(&[user, realm, password]);
    let a2 = algorithm.hash(&[method, uri]);
    let mut text = if auth {
        let count = format!("{count:08x}");
        let response = algorithm.hash(&[&a1, nonce, &count, cnonce, "auth", &a2]);
        format!(r#"{head}, response="{response}", qop=auth, nc={count}, cnonce="{cnonce}""#)
    } else {
        // RFC 7616 §3.4.1 dropped it, RFC 2617 §3.2.2.1 has it: without qop the response covers the nonce alone.
        format!(r#"{head}, response="{}""#, algorithm.hash(&[&a1, nonce, &a2]))
    };
    if let Some(opaque) = fields.get("opaque") {
        text.push_str(&format!(r#", opaque="{opaque}""#));
    }
    Some(text)
}

/// What an `Authorization` says, with every field we rely on there.
struct Claim<'a> {
    algorithm: Algorithm,
    user: &'a str,
    realm: &'a str,
    nonce: &'a str,
    uri: &'a str,
    response: &'a str,
    cnonce: &'a str,
    count_text: &'a str,
    count: u32,
}

impl<'a> Claim<'a> {
    /// `None` also for what would weaken the check: no `qop` or another one (then nothing counts the uses), a `-sess` algorithm.
    fn parse(authorization: &'a str) -> Option<Self> {
        let fields = fields(authorization)?;
        let field = |name: &str| fields.get(name).copied().filter(|value| !value.is_empty());
        let count_text = field("nc").filter(|text| text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit()))?;
        if !field("qop")?.eq_ignore_ascii_case("auth") {
            return None;
        }
        Some(Self {
            algorithm: Algorithm::named(fields.get("algorithm").copied())?,
            user: field("username")?,
            realm: field("realm")?,
            nonce: field("nonce")?,
            uri: field("uri")?,
            response: field("response")?,
            cnonce: field("cnonce")?,
            count_text,
            count: u32::from_str_radix(count_text, 16).ok().filter(|count| *count > 0)?,
        })
    }

    fn response_for(&self, password: &str, method: &str) -> String {
        let a1 = self.algorithm.hash(&[self.user, self.realm, password]);
        let a2 = self.algorithm.hash(&[method, self.uri]);
        self.algorithm.hash(&[&a1, self.nonce, self.count_text, self.cnonce, "auth", &a2])
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    /// RFC 7616 §3.3: MD5 if nothing is said.
    fn named(name: Option<&str>) -> Option<Self> {
        match name {
            None => Some(Algorithm::Md5),
            Some(name) if name.eq_ignore_ascii_case("MD5") => Some(Algorithm::Md5),
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Some(Algorithm::Sha256),
            Some(_) => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// Hash of the parts joined by colons, in lower-case hex.
    fn hash(self, parts: &[&str]) -> String {
        let text = parts.join(":");
        match self {
            Algorithm::Md5 => hex::encode(Md5::digest(text)),
            Algorithm::Sha256 => hex::encode(Sha256::digest(text)),
        }
    }
}

/// Fields of a `Digest …` value by lower-case name, without quotes. `None` if it is no such value, too long, or says one thing
/// twice (then two readers could see two different users).
fn fields(value: &str) -> Option<BTreeMap<String, &str>> {
    let (scheme, mut rest) = value.trim().split_once(' ')?;
    if value.len() > LENGTH_MAX || !scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    let mut fields = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',', '\r', '\n']);
        if rest.is_empty() {
            return Some(fields);
        }
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let field;
        if let Some(quoted) = after.strip_prefix('"') {
            // Quotes and backslashes inside stand in no user name, realm or URI of ours.
            (field, rest) = quoted.split_once('"')?;
        } else {
            let end = after.find(',').unwrap_or(after.len());
            let (bare, tail) = after.split_at_checked(end)?;
            (field, rest) = (bare.trim(), tail);
        }
        if fields.insert(name.trim().to_ascii_lowercase(), field).is_some() {
            return None;
        }
    }
}

/// RFC 3261 §22.4 (with RFC 7616 §3.4.6): the claim must be for this request's URI. Phones differ in parameters, the standard port
/// and the case of the host, so these do not count.
fn same_resource(claimed: &str, requested: &str) -> bool {
    let core = |uri: &str| {
        let uri = uri.split([';', '?']).next().unwrap_or_default();
        let (user, host) = uri.rsplit_once('@').unwrap_or_else(|| uri.split_once(':').unwrap_or(("", uri)));
        let host = host.strip_suffix(":5060").unwrap_or(host);
        (user.to_owned(), host.to_ascii_lowercase())
    };
    core(claimed) == core(requested)
}

fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
    a.len() == b.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_secs(1_700_000_000);
    const URI: &str = "sip:line.example";

    #[test]
    fn the_answers_are_those_of_rfc_7616_3_9_1_and_rfc_2617_3_5() {
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let challenge = format!(
                r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, nonce="{nonce}", opaque="x""#
            );
            let answer = answer_challenge(&challenge, "Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce, 1).unwrap();
            assert!(answer.contains(&format!(r#"response="{response}""#)) && answer.contains(r#"opaque="x""#), "{answer}");
            assert_eq!(Claim::parse(&answer).unwrap().response_for("Circle of Life", "GET"), response);
        }
        let challenge = r#"Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093""#;
        let answer = answer_challenge(challenge, "Mufasa", "Circle Of Life", "GET", "/dir/index.html", "0a4f113b", 1).unwrap();
        assert!(answer.contains("6629fae49393a05397450978507c4ef1"), "{answer}");
    }

    #[test]
    fn the_right_password_is_granted_with_either_algorithm() {
        let mut nonces = Nonces::new([1; 32]);
        let challenges = nonces.challenge(NOW, "122", true, false);
        assert!(challenges[0].contains("SHA-256") && challenges[1].contains("MD5") && challenges.len() == 2);
        assert_eq!(nonces.challenge(NOW, "122", false, false).len(), 1);
        for (challenge, count) in challenges.iter().zip(1..) {
            assert_eq!(judge(&mut nonces, NOW, &answer(challenge, "op1", "right", count)), granted());
        }
        assert_eq!(judge(&mut nonces, NOW, &answer(&challenges[0], "op1", "wrong", 9)), Verdict::Denied);
        assert_eq!(judge(&mut nonces, NOW, &answer(&challenges[0], "op2", "", 9)), Verdict::Denied);
    }

    #[test]
    fn a_replayed_claim_is_stale_and_a_higher_count_is_granted() {
        let mut nonces = Nonces::new([1; 32]);
        let challenge = nonces.challenge(NOW, "122", false, false).remove(0);
        let second = answer(&challenge, "op1", "right", 2);
        assert_eq!(judge(&mut nonces, NOW, &second), granted());
        assert_eq!(judge(&mut nonces, NOW, &second), Verdict::Stale);
        assert_eq!(judge(&mut nonces, NOW, &answer(&challenge, "op1", "right", 1)), Verdict::Stale);
        assert_eq!(judge(&mut nonces, NOW, &answer(&challenge, "op1", "right", u32::MAX)), granted());
        assert_eq!(judge(&mut nonces, NOW, &answer(&challenge, "op1", "right", 3)), Verdict::Stale);
    }

    #[test]
    fn an_old_or_foreign_nonce_is_stale_for_who_knows_the_password_only() {
        let (mut nonces, mut other) = (Nonces::new([1; 32]), Nonces::new([2; 32]));
        let old = nonces.challenge(NOW, "122", false, false).remove(0);
        let foreign = other.challenge(NOW, "122", false, false).remove(0);
        let later = NOW + NONCE_LIFETIME + Duration::from_secs(1);
        assert_eq!(judge(&mut nonces, later, &answer(&old, "op1", "right", 1)), Verdict::Stale);
        assert_eq!(judge(&mut nonces, later, &answer(&old, "op1", "wrong", 1)), Verdict::Denied);
        assert_eq!(judge(&mut nonces, NOW, &answer(&foreign, "op1", "right", 1)), Verdict::Stale);
        assert!(nonces.challenge(later, "122", false, true)[0].ends_with("stale=true"));
    }

    #[test]
    fn a_claim_that_would_weaken_the_check_is_denied() {
        let mut nonces = Nonces::new([1; 32]);
        let challenge = nonces.challenge(NOW, "122", false, false).remove(0);
        let good = answer(&challenge, "op1", "right", 1);
        for (from, to) in [
            ("algorithm=MD5", "algorithm=MD5-sess"),
            ("qop=auth", "qop=auth-int"),
            (", qop=auth", ""),
            ("nc=00000001", "nc=00000000"),
            ("nc=00000001", "nc=1"),
            (r#"username="op1""#, r#"username="""#),
            (r#"username="op1""#, r#"username="op2", username="op1""#),
            (r#"uri="sip:line.example""#, r#"uri="sip:other.example""#),
            (r#"realm="122""#, r#"realm="other""#),
            ("Digest ", "Basic "),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert_eq!(judge(&mut nonces, NOW, &bad), Verdict::Denied, "{from} -> {to}");
        }
        assert_eq!(nonces.check(NOW, &good, "INVITE", URI, "122", password_of), Verdict::Denied);
        assert_eq!(judge(&mut nonces, NOW, &good), granted());
    }

    #[test]
    fn the_uri_may_differ_in_parameters_port_and_case_only() {
        assert!(same_resource("sip:Line.example:5060;transport=udp", URI));
        assert!(!same_resource("sip:op1@line.example", URI));
        assert!(!same_resource("sip:line.example:5061", URI));
    }

    #[test]
    fn proven_nonces_are_bounded_and_what_was_dropped_cannot_be_replayed() {
        let mut nonces = Nonces::new([1; 32]);
        let first = nonces.challenge(NOW, "122", false, false).remove(0);
        let first = answer(&first, "op1", "right", 1);
        assert_eq!(judge(&mut nonces, NOW, &first), granted());
        for number in 0..PROVEN_MAX as u64 {
            assert!(nonces.counts_up(NOW, (NOW, number + 2), 1));
        }
        assert_eq!(nonces.proven.len(), PROVEN_MAX);
        assert_eq!(judge(&mut nonces, NOW, &first), Verdict::Stale);
        nonces.counts_up(NOW + NONCE_LIFETIME * 2, (NOW + NONCE_LIFETIME * 2, 1), 1);
        assert_eq!(nonces.proven.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(Digest )?([a-z]{1,5}=[\"a-z0-9,\\\\ ]{0,9},? ?){0,9}\\PC{0,20}") {
            let _ = answer_challenge(&text, "u", "p", "GET", "/", "c", 1);
            proptest::prop_assert_eq!(judge(&mut Nonces::new([1; 32]), NOW, &text), Verdict::Denied);
        }
    }

    fn judge(nonces: &mut Nonces, now: Moment, authorization: &str) -> Verdict {
        nonces.check(now, authorization, "REGISTER", URI, "122", password_of)
    }

    fn password_of(user: &str) -> Option<String> {
        (user == "op1").then(|| "right".to_owned())
    }

    fn answer(challenge: &str, user: &str, password: &str, count: u32) -> String {
        answer_challenge(challenge, user, password, "REGISTER", URI, "c0ffee", count).unwrap()
    }

    fn granted() -> Verdict {
        Verdict::Granted { user: "op1".to_owned() }
    }
}
