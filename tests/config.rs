//! What a configuration may say, and in which words it is refused.

use dozvon::config::{AgentPhone, Config};
use dozvon::ids::{QueueId, RegionId};
use std::os::unix::fs::PermissionsExt;

/// A small line that is right; tests add to it.
const SOUND: &str = r#"
[[network]]
name = "loop"
bind = "127.0.0.2:5060"
[[trunk]]
name = "city"
network = "loop"
peers = ["127.0.0.10"]
[[queue]]
name = "therapy"
skill = "therapy"
"#;

#[test]
fn every_mistake_is_told_with_its_line_and_a_remedy() {
    // What is added to the sound text (its first line is line 12), the line to blame, words of the complaint.
    let table: &[(&str, usize, &[&str])] = &[
        ("[[queu]]\nname = \"x\"", 12, &["`queu` is not known", "queue"]),
        ("[[queue]]\nnome = \"x\"", 13, &["[[queue]] knows no key `nome`", "`name`"]),
        ("[[queue]]\ntitle = \"x\"", 12, &["[[queue]] lacks the key `name`; add it"]),
        ("[[queue]]\nname = \"x\"\nring_s = \"soon\"", 14, &["[[queue]] `ring_s`", "expected u32"]),
        ("[[queue]]\nname = \"x\"\nring_s = -5", 14, &["[[queue]] `ring_s`"]),
        ("[[queue]]\nname = \"x\"\nring_s = 1", 14, &["cannot be answered", "write 10 to 30"]),
        ("[[queue]]\nname = \"x\"\ntarget_s = 0", 14, &["write at least 1"]),
        ("[[queue]]\nname = \"x\"\nkeep_recordings_days = 0", 14, &["write `record = false`"]),
        ("[[queue]]\nname = \"x\"\nmax_wait_s = 9", 14, &["[[queue]] knows no key `max_wait_s`", "`overflow`"]),
        ("[[queue]]\nname = \"x\"\ncalendar = \"main\"", 14, &["calendar `main` is not defined"]),
        ("[[queue]]\nname = \"x\"\nat_closing = \"overflow\"", 14, &["never closes", "name its `calendar`"]),
        ("[[queue]]\nname = \"x\"\nannounce_after_s = 0\nannounce_texts = [\"a\"]", 15, &["never said", "write at least 10"]),
        ("[[queue]]\nname = \"x\"\noverflow = [{ then = \"robot\" }]", 14, &["holds for everybody", "`waited_s`"]),
        ("[[queue]]\nname = \"x\"\noverflow = [{ closed = true, then = \"robot\" }]", 14, &["never closes", "delete this line"]),
        ("[[queue]]\nname = \"x\"\noverflow = [{ ahead = 5, then = \"bar\" }]", 14, &["`overflow`", "`promise_callback`"]),
        ("[[queue]]\nname = \"x\"\noverflow = [{ ahead = 5, then = { queue = \"x\" } }]", 14, &["into itself"]),
        (
            "[[queue]]\nname = \"x\"\noverflow = [\n{ ahead = 5, then = \"robot\" },\n{ ahead = 9, then = { queue = \"y\" } }]",
            16,
            &["queue `y` is not defined; queues are: therapy, x"],
        ),
        ("[[queue]]\nname = \"x\"\noverflow = [{ ahead = 5, then = { route = \"y\" } }]", 14, &["route `y` is not defined"]),
        ("[[calendar]]\nname = \"c\"\nopen = {}\nholidays = \"prussia\"", 15, &["`prussia` cannot be read", "write \"russia\""]),
        ("[[calendar]]\nname = \"c\"\nopen = {}\nexceptions = { \"2026\" = \"closed\" }", 15, &["`2026` is no date"]),
        ("[acd]\nlast_agent_within_s = 9999999", 13, &["30 days at most", "0 to 2592000"]),
        ("[acd]\nlast_agent_wait_s = 121", 13, &["for one agent", "0 to 120"]),
        ("[recording]\nkeep_days = 0", 13, &["write `enabled = false`"]),
        ("[recording]\nkey_dir = \"/k\"\nkey_env = \"K\"", 14, &["`key_dir` and `key_env` exclude each other; keep one"]),
        ("[archive]\nkind = \"tape\"", 13, &["[archive] `kind`", "`s3`"]),
        ("[archive]\nkind = \"folder\"", 13, &["needs `dir`"]),
        ("[archive]\nkind = \"s3\"\nurl = \"store\"", 14, &["begins with https://"]),
        ("[archive]\nkind = \"s3\"\nurl = \"http://s\"\nbucket = \"b\"\naccess_key = \"a\"", 13, &["add `secret_env`"]),
        ("[[queue]]\nname = \"therapy\"", 13, &["queue `therapy` is defined twice; rename or delete one"]),
        ("[[queue]]\nname = \"x\"\nrequires = { a = 0 }", 14, &["level 0 of skill `a`", "1 to 100"]),
        ("[[queue]]\nname = \"x\"\nrequires = \"a >= 0\"", 14, &["at character 6", "from 1 to 100"]),
        ("[[queue]]\nname = \"x\"\nrequires = \"a and\"", 14, &["a skill is missing at the end"]),
        ("[[queue]]\nname = \"x\"\nrequires = 5", 14, &["write { skill = level } or"]),
        ("[[queue]]\nname = \"x\"\nprefers = { a = 101 }", 14, &["level 101 of skill `a`"]),
        ("[[queue]]\nname = \"x\"\nrelax = [{ after_s = 0, requires = \"a\" }]", 14, &["at least 1 s", "sort them"]),
        ("[[queue]]\nname = \"x\"\nagents = \"laziest\"", 14, &["[[queue]] `agents`", "`longest_idle`"]),
        ("[[queue]]\nname = \"x\"\nring_at_once = 0", 14, &["`ring_at_once` is 0", "1 (one phone after the other) to 20"]),
        ("[acd]\npolicy = \"luck\"", 13, &["[acd] `policy`", "`target_balance`", "`strict_priority`"]),
        ("[acd]\nrule = 1", 13, &["[acd] knows no key `rule`", "`policy`"]),
        ("[[queue]]\nname = \"x\"\nskill = \"a\"\nrequires = { a = 5 }", 14, &["keep one"]),
        ("[[queue]]\nname = \"x\"\nregion = 22", 14, &["region 22 is not defined; regions are: 0"]),
        ("[[agent]]\nuser = \"a\"\nskills = { terapy = 50 }", 14, &["skill `terapy` is not defined; skills are: therapy"]),
        ("[[agent]]\nuser = \"a\"\nnetwork = \"lan\"", 14, &["network `lan` is not defined; networks are: loop"]),
        ("[[agent]]\nuser = \"a b\"", 13, &["`a b` is no user name", "Latin letters"]),
        ("[[agent]]\nprefix = \"a\"", 13, &["belongs into [[agents]]"]),
        ("[[agent]]\nuser = \"a\"\npassword_env = \"NOWHERE\"", 14, &["`NOWHERE` is not set; set it before the start"]),
        ("[[agent]]\nuser = \"a\"\npassword_file = \"/no/such/file\"", 14, &["cannot read `/no/such/file`"]),
        ("[[agent]]\nuser = \"a\"\nalways_ready = true", 14, &["add it or delete `always_ready`"]),
        ("[[agent]]\nuser = \"a\"\n[[agent]]\nuser = \"a\"", 15, &["agent `a` is defined twice; delete one"]),
        ("[[agents]]\nprefix = \"a\"\ncount = 0", 14, &["`count` is 1 to 10000"]),
        ("[[agents]]\nuser = \"a\"\ncount = 2", 13, &["a `user` belongs into [[agent]]"]),
        ("[[trunk]]\nname = \"b\"\nnetwork = \"loop\"", 13, &["add `peers` or `contact`"]),
        ("[[trunk]]\nname = \"b\"\nnetwork = \"loop\"\npeers = [\"127.0.0.10\"]", 15, &["belongs to trunk `city` already"]),
        ("[[trunk]]\nname = \"b\"\nnetwork = \"loop\"\npeers = [\"home\"]", 15, &["[[trunk]] `peers`", "IP address"]),
        ("[[trunk]]\nname = \"b\"\nnetwork = \"loop\"\ncontact = \"127.0.0.9:5060\"\ndialled = \"from\"", 16, &["`request-uri`"]),
        ("[[trunk]]\nname = \"b\"\nnetwork = \"loop\"\ncontact = \"127.0.0.9:5060\"\narea = \"38a\"", 16, &["3 to 5 digits"]),
        (
            "[[route]]\nname = \"r\"\nsteps = [{ trunk = \"sity\", number = \"103\" }]",
            14,
            &["trunk `sity` is not defined; trunks are: city"],
        ),
        (
            "[[route]]\nname = \"r\"\nsteps = [{ trunk = \"city\", number = \"103\" }]",
            14,
            &["has no `contact`", "add one to the trunk"],
        ),
        ("[[route]]\nname = \"r\"\nsteps = []", 14, &["route `r` leads nowhere"]),
        ("[[number]]\ndialled = [\"12a\"]\nscript = \"122\"", 13, &["`12a` is no number; write digits"]),
        ("[[number]]\ndialled = []\nscript = \"122\"", 13, &["list the numbers that citizens dial"]),
        (
            "[[number]]\ndialled = [\"+78001234567\", \"88001234567\"]\nscript = \"122\"",
            13,
            &["88001234567 goes to script `122` already"],
        ),
        (
            "[[region]]\ncode = 22\ntitle = \"A\"\nzone = \"Asia/Barnaool\"",
            15,
            &["`Asia/Barnaool` is no time zone", "Asia/Barnaul"],
        ),
        ("[[calendar]]\nname = \"c\"\nopen = { mon = \"8-20\" }", 14, &["`8-20` are no hours; write \"08:00-20:00\""]),
        ("[[calendar]]\nname = \"c\"\nopen = { mo = \"24h\" }", 14, &["knows no key `mo`", "`mon`"]),
        ("[[calendar]]\nname = \"c\"\nopen = {}\nholidays = [\"1.1.2027\"]", 15, &["`1.1.2027` is no date", "2027-01-01"]),
        ("[[network]]\nname = \"b\"\nbind = \"127.0.0.2:5060\"", 14, &["bound by network `loop` already"]),
        (
            "[[network]]\nname = \"b\"\nbind = \"127.0.0.2:5070\"\nports = \"20000-40000\"",
            15,
            &["overlap with those of network `loop`"],
        ),
        (
            "[[network]]\nname = \"b\"\nbind = \"127.0.0.3:5060\"\nports = \"20001-30000\"",
            15,
            &["is no port range", "first even"],
        ),
        ("[[network]]\nname = \"b\"\nbind = \"0.0.0.0:5070\"\nports = \"40000-40100\"", 14, &["add `advertise` and `media`"]),
        ("[http]\nbind = \"192.0.2.1:80\"\nopen = true", 14, &["for loopback only", "delete `open` or bind 127.0.0.1"]),
        ("[http]\ntoken_env = \"NOWHERE\"", 13, &["`NOWHERE` is not set"]),
        ("[[webhook]]\nurl = \"mis.example.org\"", 13, &["begins with https://"]),
        ("[[webhook]]\nurl = \"https://mis.example.org\"\nsecret_env = \"NOWHERE\"", 14, &["`NOWHERE` is not set"]),
        ("[callbacks]\nattempts = 0", 13, &["`attempts` is 0; write 1 to 10"]),
        ("[callbacks]\ngap_s = 600", 13, &["nobody is rung five times an hour", "900 to 86400"]),
        ("[callbacks]\nring_s = 3", 13, &["`ring_s` is 3; write 5 to 120"]),
        ("[callbacks]\nhours = [21, 9]", 13, &["`hours` is [21, 9]", "such as [9, 21]"]),
        ("[callbacks]\nwithin_s = 60", 13, &["write a `within_s` of 600 to 604800"]),
        ("[callbacks]\nplace_kept_s = 7200", 13, &["write a `place_kept_s` of 0 to 3600"]),
        ("[callbacks]\ndial = true", 13, &["no trunk has a `contact` to send calls to; add it, or write `dial = false`"]),
        (
            "[[region]]\ncode = 22\ntitle = \"A\"\nzone = \"Asia/Barnaul\"\ncallback_within_s = 60",
            16,
            &["write a `callback_within_s` of 600 to 604800"],
        ),
        ("[codes]\nwrong_number = \"*5\"", 13, &["code `*5` stands for two things"]),
        ("[codes]\nready = \"*2\"", 12, &["code `*2` stands for two things"]),
        ("[[break]]\nreason = \"lunch\"\n[[break]]\nreason = \"lunch\"", 15, &["break `lunch` is defined twice"]),
        ("[[break]]\nreason = \"lunch\"\nkey = \"x\"", 14, &["`x` is no key", "1 or 2 digits"]),
        ("[[break]]\nreason = \"a\"\nkey = \"1\"\n[[break]]\nreason = \"b\"\nkey = \"1\"", 17, &["stands for two reasons"]),
        ("[codes]\nready = \"*21\"\n[[break]]\nreason = \"a\"\nkey = \"1\"", 16, &["`*21` is a code for something else"]),
        ("[missed_offers]\nbusy = { rest_s = 0, counts = false }", 13, &["rung without end", "at least 1"]),
        ("[missed_offers]\nno_answer = { rest_s = 9, longest_rest_s = 5, counts = true }", 13, &["shorter than `rest_s`"]),
        ("[missed_offers]\nasleep = { rest_s = 9, counts = true }", 13, &["knows no key `asleep`", "`no_answer`"]),
        ("[flapping]\ntimes = 1", 13, &["write 2 to 100", "0 for no damping"]),
        ("[flapping]\nrest_s = 0", 13, &["write 1 to 3600"]),
        ("[codes]\nready = \"*71\"", 13, &["begins as `*7`", "take another one"]),
        ("[[queue]]\nname = \"x\"\nwrap_up = \"long\"", 14, &["[[queue]] `wrap_up`", "`finish_early`", "`forced`"]),
        ("[[queue]]\nname = \"x\"\nwrap_up_codes = { a = \"b\" }", 14, &["`a` is no wrap-up code", "1 to 4 digits"]),
        ("[[queue]]\nname = \"x\"\nwrap_up_code_required = true", 14, &["add `wrap_up_codes`"]),
        ("[[queue]]\nname = \"x\"\nwrap_up = \"extendable\"\nwrap_up_longest_s = 20", 15, &["no room beyond", "write more"]),
        ("[[queue]]\nname = \"x\"\nwrap_up = \"extendable\"\nwrap_up_more_s = 0", 15, &["write at least 1"]),
        ("[codes]\nready = \"ready\"", 13, &["is no feature code", "2 to 6"]),
        ("[store]\nkind = \"postgres\"", 13, &["wants an address; add `url_env`"]),
        ("[store]\nkind = \"oracle\"", 13, &["[store] `kind`", "postgres"]),
        ("[store]\nkind = \"postgres\"\nurl_env = \"NOWHERE\"", 14, &["`NOWHERE` is not set; set it before the start"]),
        ("[store]\nkind = \"postgres\"\nurl = \"postgres://me:pw@db/x\"", 14, &["a password stands in `url`; move"]),
        ("[store]\nkind = \"postgres\"\nurl = \"mysql://db/x\"", 14, &["begins with postgres://"]),
        ("[store]\nurl = \"postgres:///x\"", 13, &["needs no address", "delete this key"]),
        ("[sip]\nsession_expires_s = 60", 13, &["below 90", "or 0 for none"]),
        ("[limits]\npeople_days = 0", 13, &["write at least 1"]),
        ("[limits]\ntransactions = 100", 12, &["phones need room too"]),
        ("[limits]\nlegs = 0", 13, &["delete the key for the default"]),
        ("[media]\ninside = true\nstart = false", 14, &["`inside = true` wants none; delete one of the two"]),
        ("[media]\norphan_after_s = 0", 13, &["end all audio", "delete the key for 600"]),
        (
            "[media]\nsocket = \"/a/path/that/is/longer/than/any/that/the/kernel/would/take/for/a/socket/in/the/file/system/of/this/machine.sock\"",
            13,
            &["has 111 bytes, at most 99", "name a shorter `socket`"],
        ),
        ("[[media]]\nthreads = 2", 12, &["there is one `media`; write it as [media]"]),
        ("[number]\nscript = \"122\"", 12, &["write each as [[number]]"]),
        ("[codes", 12, &["this is no TOML"]),
    ];
    for (added, line, words) in table {
        let errors = parse(&format!("{SOUND}{added}\n")).expect_err(added).0;
        let found = errors.iter().find(|error| words.iter().all(|word| error.message.contains(word)));
        let found = found.unwrap_or_else(|| panic!("{added}\nlacks {words:?}: {errors:#?}"));
        assert_eq!(found.line, *line, "{added}\n{errors:#?}");
        assert!(found.to_string().starts_with(&format!("config/x.toml:{line}: ")), "{found}");
    }
}

#[test]
fn the_sound_text_of_these_tests_has_no_mistake() {
    parse(SOUND).unwrap();
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_lines() {
    let text = format!(
        "{SOUND}[[queue]]\nnome = \"x\"\nring_s = \"soon\"\n[[agent]]\nuser = \"a\"\nskills = {{ terapy = 1 }}\n[speech]\n"
    );
    let lines: Vec<_> = parse(&text).unwrap_err().0.iter().map(|error| error.line).collect();
    assert_eq!(lines, [12, 13, 14, 17, 18]);
}

#[test]
fn a_line_without_a_network_is_refused() {
    let errors = parse("").unwrap_err().to_string();
    assert!(errors.contains("there is no [[network]]; add one"), "{errors}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let errors = Config::load("no/such.toml".as_ref()).unwrap_err().to_string();
    assert!(errors.starts_with("no/such.toml: cannot be read"), "{errors}");
}

#[test]
fn the_only_region_needs_no_key_and_several_do() {
    let barnaul = "[[region]]\ncode = 22\ntitle = \"A\"\nzone = \"Asia/Barnaul\"\n";
    let config = parse(&format!("{SOUND}{barnaul}")).unwrap();
    assert_eq!(config.queue(&QueueId::from("therapy")).unwrap().region, RegionId(22));

    let yaroslavl = "[[region]]\ncode = 76\ntitle = \"Y\"\nzone = \"Europe/Moscow\"\n";
    let errors = parse(&format!("{SOUND}{barnaul}{yaroslavl}")).unwrap_err().to_string();
    assert!(errors.contains("config/x.toml:9: [[queue]] lacks the key `region`; regions are: 22, 76"), "{errors}");
}

#[test]
fn one_number_is_found_in_each_form_it_is_dialled_in() {
    let config = parse(&format!("{SOUND}[[number]]\ndialled = [\"122\", \"+78001234567\"]\nscript = \"122\"\n")).unwrap();
    for dialled in ["122", "+78001234567", "88001234567", "78001234567", "8001234567"] {
        assert_eq!(config.number(dialled).unwrap().script.as_str(), "122", "{dialled}");
        assert!(config.dialled_forms().contains(dialled), "{dialled}");
    }
    assert!(config.number("123").is_none());
    assert_eq!(config.dialled_forms().len(), 5);
}

#[test]
fn a_contact_stands_in_while_the_password_is_not_set() {
    let text = format!(
        "{SOUND}[[agents]]\nprefix = \"op\"\ncount = 3\npassword_env = \"PASS\"\ncontact = \"127.0.4.1:5080\"\nalways_ready = true\n"
    );
    for unset in [None, Some(String::new())] {
        let config = Config::parse_with("config/x.toml", &text, &|key| (key == "PASS").then(|| unset.clone()).flatten()).unwrap();
        assert_eq!(config.agents.iter().map(|agent| agent.user.as_str()).collect::<Vec<_>>(), ["op1", "op2", "op3"]);
        assert!(matches!(config.agents[0].phone, AgentPhone::Stands { always_ready: true, .. }));
    }
    let config = Config::parse_with("config/x.toml", &text, &|key| (key == "PASS").then(|| "secret".into())).unwrap();
    let AgentPhone::Registers { password, .. } = &config.agents[2].phone else { panic!("{:?}", config.agents[2]) };
    assert_eq!(password.expose(), "secret");
    assert!(!format!("{config:?}").contains("secret"), "a printed configuration shows no password");
}

#[test]
fn a_password_file_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pass");
    std::fs::write(&path, "secret\n").unwrap();
    let text = format!("{SOUND}[[agent]]\nuser = \"a\"\npassword_file = \"{}\"\n", path.display());

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(parse(&text).unwrap_err().to_string().contains("run: chmod 600"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(parse(&text).unwrap().agents[0].phone, AgentPhone::Registers { .. }));
}

#[test]
fn the_first_start_makes_a_token_and_the_next_one_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let env = |key: &str| (key == "DOZVON_DATA").then(|| data.display().to_string());
    let config = Config::parse_with("config/x.toml", SOUND, &env).unwrap();

    let token = config.http_token().unwrap().unwrap();
    assert_eq!(token.expose().len(), 64);
    assert_eq!(std::fs::metadata(data.join("http-token")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(config.http_token().unwrap().unwrap(), token);
}

#[test]
fn an_open_line_wants_no_token() {
    assert_eq!(parse(&format!("{SOUND}[http]\nopen = true\n")).unwrap().http_token().unwrap(), None);
}

#[test]
fn the_shipped_files_are_sound() {
    let pass = |key: &str| key.ends_with("_PASS").then(|| "x".to_owned());
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for file in ["example.toml", "bench.toml", "demo.toml"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        Config::parse_with(file, &text, &pass).unwrap_or_else(|errors| panic!("{errors}"));
    }
    let bench = std::fs::read_to_string(folder.join("bench.toml")).unwrap();
    let bench = Config::parse_with("bench.toml", &bench, &|_| None).unwrap();
    assert_eq!(bench.agents.len(), 2500);
    assert!(matches!(bench.agents[2499].phone, AgentPhone::Stands { always_ready: true, .. }));
}

#[test]
fn a_requirement_is_a_table_of_levels_or_an_expression() {
    let config = parse(&format!(
        "{SOUND}[[queue]]\nname = \"a\"\nrequires = {{ therapy = 5, tatar = 1 }}\n\
         [[queue]]\nname = \"b\"\nrequires = \"therapy >= 5 and tatar\"\nrelax = [{{ after_s = 30, requires = \"therapy\" }}]\n"
    ))
    .unwrap();
    let queue = |name: &str| config.queue(&QueueId::from(name)).unwrap();
    assert_eq!(queue("a").requires.0.to_string(), "tatar >= 1 and therapy >= 5");
    assert_eq!(queue("b").requires.0.to_string(), "therapy >= 5 and tatar >= 1");
    assert_eq!(queue("b").relax[0].requires.0.to_string(), "therapy >= 1");
    assert_eq!(queue("b").relax[0].after, std::time::Duration::from_secs(30));
}

#[test]
fn overflow_lists_that_go_round_are_told_and_only_once() {
    let queue = |name: &str, to: &str| {
        format!("[[queue]]\nname = \"{name}\"\noverflow = [{{ waited_s = 60, then = {{ queue = \"{to}\" }} }}]\n")
    };
    let circles = |queues: &[(&str, &str)]| {
        let lists: String = queues.iter().map(|(name, to)| queue(name, to)).collect();
        let circles = parse(&format!("{SOUND}{lists}")).unwrap().overflow_circles();
        circles.into_iter().map(|way| way.iter().map(QueueId::as_str).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(circles(&[("a", "b"), ("b", "therapy")]), [""; 0]);
    assert_eq!(circles(&[("a", "b"), ("b", "a")]), ["a b a"]);
    assert_eq!(circles(&[("x", "a"), ("a", "b"), ("b", "c"), ("c", "a")]), ["a b c a"]);
}

#[test]
fn queues_from_which_lists_lead_to_a_callback_are_known() {
    let lists = "[[queue]]\nname = \"a\"\noverflow = [{ ahead = 5, then = { queue = \"b\" } }]\n\
                 [[queue]]\nname = \"b\"\noverflow = [{ estimate_s = 60, then = \"promise_callback\" }]\n";
    let config = parse(&format!("{SOUND}{lists}")).unwrap();
    assert_eq!(config.queues_that_call_back(), ["a", "b"].map(QueueId::from).into());
}

fn parse(text: &str) -> Result<Config, dozvon::config::ConfigErrors> {
    // The tests' own environment is empty.
    Config::parse_with("config/x.toml", text, &|_| None)
}

#[test]
fn the_stores_address_comes_from_outside_and_prints_as_dots() {
    let text = format!("{SOUND}[store]\nkind = \"postgres\"\nurl_env = \"DB\"\n");
    let env = |key: &str| (key == "DB").then(|| "postgres://me:planted@db/line".to_owned());
    let config = Config::parse_with("line.toml", &text, &env).unwrap();
    assert_eq!(config.store.address.as_ref().unwrap().expose(), "postgres://me:planted@db/line");
    assert!(!format!("{config:?}").contains("planted"));
}
