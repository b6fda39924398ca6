//! Who we are to the server.

use std::fmt;

use async_nats::ConnectOptions;
use nkeys::{KeyPair, KeyPairType};

/// Who we are to the server. A secret is never shown.
#[derive(Clone, Default)]
pub enum Credentials {
    /// What stands in a file that `nsc` writes: a JWT, and the seed of its nkey.
    Creds(String),
    /// No credentials.
    #[default]
    None,
    /// The seed of an nkey.
    Nkey(String),
    /// A token.
    Token(String),
    /// A user.
    User {
        /// Its name.
        name: String,
        /// Its password.
        password: String,
    },
}

/// Why a secret is none. No text says anything of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    /// It has no JWT, or no seed behind it.
    #[error("it is not a JWT and a seed between their lines of dashes, as nsc writes them")]
    Creds,
    /// It is no seed, or another's than a user's.
    #[error("it is not the seed of a user's nkey, which begins with SU")]
    Nkey,
}

impl Credentials {
    /// What stands in a file of credentials.
    ///
    /// # Errors
    /// There is no JWT in it, or no seed.
    pub fn creds(text: &str) -> Result<Self, InvalidCredentials> {
        ConnectOptions::with_credentials(text).map_err(|_| InvalidCredentials::Creds)?;
        Ok(Self::Creds(text.to_owned()))
    }

    /// The seed of a user's nkey. Blanks around it do not count.
    ///
    /// # Errors
    /// It is none.
    pub fn nkey(seed: &str) -> Result<Self, InvalidCredentials> {
        let seed = seed.trim();
        match KeyPair::from_seed(seed).map(|pair| pair.key_pair_type()) {
            Ok(KeyPairType::User) => Ok(Self::Nkey(seed.to_owned())),
            _ => Err(InvalidCredentials::Nkey),
        }
    }

    /// Adds them to the options of a connection.
    pub(crate) fn apply(&self, options: ConnectOptions) -> Result<ConnectOptions, InvalidCredentials> {
        Ok(match self {
            Self::Creds(text) => options.credentials(text).map_err(|_| InvalidCredentials::Creds)?,
            Self::None => options,
            Self::Nkey(seed) => options.nkey(seed.clone()),
            Self::Token(token) => options.token(token.clone()),
            Self::User { name, password } => options.user_and_password(name.clone(), password.clone()),
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creds(_) => "Creds",
            Self::None => "None",
            Self::Nkey(_) => "Nkey",
            Self::Token(_) => "Token",
            Self::User { .. } => "User",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_users_or_refused() {
        let user = KeyPair::new_user().seed().unwrap();
        assert!(matches!(Credentials::nkey(&format!(" {user}\r\n")), Ok(Credentials::Nkey(seed)) if seed == user));
        for text in ["", "SU", "hunter2", &user[1..], &KeyPair::new_account().seed().unwrap(), &user.to_lowercase()] {
            assert_eq!(Credentials::nkey(text).unwrap_err(), InvalidCredentials::Nkey, "{text}");
        }
    }

    #[test]
    fn files_of_credentials_have_both_parts() {
        let seed = KeyPair::new_user().seed().unwrap();
        let jwt = "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.c2ln\n------END NATS USER JWT------\n";
        let key = format!("-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n");
        assert!(Credentials::creds(&format!("{jwt}\n{key}")).is_ok());
        for text in ["", jwt, &key, &seed, &format!("{jwt}\n{}", key.replace(&seed, "SUseed"))] {
            assert_eq!(Credentials::creds(text).unwrap_err(), InvalidCredentials::Creds, "{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let user = Credentials::User { name: "n".to_owned(), password: "hunter2".to_owned() };
        let secrets = [Credentials::Creds("hunter2".to_owned()), Credentials::Nkey("hunter2".to_owned()), user];
        assert!(!format!("{secrets:?}{:?}", Credentials::Token("hunter2".to_owned())).contains("hunter2"));
    }
}
