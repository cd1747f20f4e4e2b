//! Where the daemon listens for HTTP, and to whom.

use std::{
    borrow::Cow,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{files, schema};

/// Metrics, health and the API of the daemon.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Where to listen; nowhere when left out.
    pub listen: Option<Listen>,
    /// An address that others can reach is meant.
    pub public: bool,
    /// A file that holds the token of those who may start runs.
    pub token_file: Option<PathBuf>,
    /// Names by which clients may call the daemon, beside `localhost` and its address.
    #[serde(deserialize_with = "names")]
    #[schemars(with = "Vec<String>")]
    pub allowed_hosts: Vec<String>,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address; port 0 lets the system choose one.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Shorter ones can be guessed.
const SHORTEST_TOKEN: usize = 16;

impl HttpSettings {
    /// What can be seen to be wrong without listening.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(Listen::Tcp(address)) = &self.listen
            && !address.ip().to_canonical().is_loopback()
            && !self.public
        {
            return Err(format!(
                "`http.listen` is {address}, which other machines can reach, and there is neither TLS nor a login for \
                 reading: listen on 127.0.0.1 or a unix: socket behind a proxy, or say `public = true`"
            ));
        }
        if let Some(name) = self.allowed_hosts.iter().find(|name| !is_host(name)) {
            return Err(format!("`http.allowed_hosts`: `{name}` is no name; write it without scheme, port and path"));
        }
        self.token().map(|_| ())
    }

    /// The token of those who may start runs, if anybody may.
    pub fn token(&self) -> Result<Option<SecretString>, String> {
        let Some(file) = &self.token_file else { return Ok(None) };
        if file.as_os_str().is_empty() {
            return Err("`http.token_file` is empty: it is to name a file".to_owned());
        }
        let wrong = |why: String| format!("`http.token_file`: {}: {why}", file.display());
        let text = files::read_text(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let token = text.trim();
        // What a header can carry.
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("the token holds something other than letters, digits and signs of ASCII".to_owned()));
        }
        if token.len() < SHORTEST_TOKEN {
            return Err(wrong(format!(
                "the token has {} characters, at least {SHORTEST_TOKEN} are needed",
                token.len()
            )));
        }
        Ok(Some(SecretString::from(token.to_owned())))
    }

    /// Whether a request's token is the right one, in a time that does not tell how much of it is right.
    pub fn is_token(right: &SecretString, given: &str) -> bool {
        subtle::ConstantTimeEq::ct_eq(right.expose_secret().as_bytes(), given.as_bytes()).into()
    }
}

fn is_host(name: &str) -> bool {
    let is_of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !name.is_empty() && name.bytes().all(is_of_a_name) || name.parse::<std::net::IpAddr>().is_ok()
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = Path::new(path);
            return match path.is_absolute() {
                true => Ok(Self::Unix(path.to_owned())),
                false => {
                    Err(format!("bad address `{text}`: the path of a socket is absolute, unix:/run/warmd/http.sock"))
                }
            };
        }
        text.parse()
            .map(Self::Tcp)
            .map_err(|_| format!("bad address `{text}`; write 127.0.0.1:9187, [::1]:9187 or unix:/run/warmd/http.sock"))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Listen {
    fn schema_name() -> Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::text(
            r"^(unix:/.+|\[[0-9a-fA-F:.]+\]:\d+|[0-9.]+:\d+)$",
            &["127.0.0.1:9187", "unix:/run/warmd/http.sock"],
        )
    }
}

/// A list, or one text with commas, which is all that the environment can say.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Names;
    impl<'de> de::Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of names")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut names = Vec::new();
            while let Some(name) = list.next_element()? {
                names.push(name);
            }
            Ok(names)
        }
    }
    deserializer.deserialize_any(Names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HttpSettings, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn an_address_that_others_can_reach_is_refused_unless_it_is_meant() {
        for (listen, is_refused) in [
            ("127.0.0.1:9187", false),
            ("127.9.9.9:1", false),
            ("[::1]:9187", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("unix:/run/warmd/http.sock", false),
            ("0.0.0.0:9187", true),
            ("[::]:9187", true),
            ("10.0.0.7:9187", true),
        ] {
            let said = read(&format!("listen = \"{listen}\"")).unwrap().check();
            assert_eq!(said.is_err(), is_refused, "{listen}: {said:?}");
            if let Err(why) = said {
                assert!(
                    why.starts_with(&format!("`http.listen` is {listen}, which other machines can reach")),
                    "{why}"
                );
            }
            assert_eq!(read(&format!("listen = \"{listen}\"\npublic = true")).unwrap().check(), Ok(()));
        }
    }

    #[test]
    fn what_is_no_address_is_told_with_what_is() {
        for text in ["9187", "localhost:9187", "127.0.0.1", "http://127.0.0.1:9187", "127.0.0.1:99999"] {
            let why = read(&format!("listen = \"{text}\"")).unwrap_err();
            assert!(why.contains(&format!("bad address `{text}`; write 127.0.0.1:9187")), "{why}");
        }
        assert!(read("listen = \"unix:http.sock\"").unwrap_err().contains("absolute"));
    }

    #[test]
    fn names_are_a_list_or_a_text_with_commas_and_nothing_but_names() {
        let names = |text: &str| read(&format!("allowed_hosts = {text}")).unwrap().allowed_hosts;
        assert_eq!(names("[\"warm.example\", \"10.0.0.7\"]"), ["warm.example", "10.0.0.7"]);
        assert_eq!(names("\"warm.example, warm\""), ["warm.example", "warm"]);
        assert!(names("\"\"").is_empty());
        for wrong in ["http://warm.example", "warm.example:80", "warm.example/", "*", ""] {
            let settings = HttpSettings { allowed_hosts: vec![wrong.to_owned()], ..HttpSettings::default() };
            assert!(settings.check().unwrap_err().contains("is no name"), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_read_from_its_file_and_refused_when_it_is_short_or_no_header_can_carry_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let settings = HttpSettings { token_file: Some(file.clone()), ..HttpSettings::default() };
        assert!(settings.check().unwrap_err().contains("cannot be read: "));
        let empty = HttpSettings { token_file: Some(PathBuf::new()), ..HttpSettings::default() };
        assert_eq!(empty.check().unwrap_err(), "`http.token_file` is empty: it is to name a file");
        for (text, why) in
            [("fifteen-letters", "at least 16"), ("sixteen letters-", "signs of ASCII"), ("", "at least 16")]
        {
            std::fs::write(&file, text).unwrap();
            let said = settings.check().unwrap_err();
            assert!(said.contains(why), "{said}");
            assert!(text.is_empty() || !said.contains(text), "{said}");
        }
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let token = settings.token().unwrap().unwrap();
        assert!(HttpSettings::is_token(&token, "0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdeg", "0123456789abcdef0"] {
            assert!(!HttpSettings::is_token(&token, wrong), "{wrong}");
        }
    }
}
