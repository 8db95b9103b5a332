// SPDX-License-Identifier: Apache-2.0
//! A Secret in the importer's own namespace that it makes itself. Two importers may start at the same time: what is in the API
//! server counts, not what one of them made.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use thiserror::Error;

/// How often another importer may come first.
const ATTEMPTS: usize = 5;

/// The Secret.
#[derive(Debug)]
pub struct OwnSecret {
    api: Api<Secret>,
    namespace: String,
    name: &'static str,
}

/// What to do with the Secret that exists, or with none.
#[derive(Debug)]
pub enum SecretUse<T> {
    /// It has this content.
    Read(T),
    /// This is written in its place.
    Write(Box<Secret>, T),
}

/// Why a Secret was neither read nor written.
#[derive(Debug, Error)]
pub enum OwnSecretError {
    /// The API server.
    #[error("cannot {verb} Secret {namespace}/{name}: {source}{}", help(source))]
    Api {
        /// What was tried.
        verb: &'static str,
        /// The importer's namespace.
        namespace: String,
        /// The Secret.
        name: &'static str,
        /// What the API server, or the way to it, says.
        source: kube::Error,
    },
    /// Others keep changing the Secret.
    #[error(
        "Secret {namespace}/{name} keeps changing: see that only one importer runs, and that nothing deletes it"
    )]
    Contended {
        /// The importer's namespace.
        namespace: String,
        /// The Secret.
        name: &'static str,
    },
}

fn help(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            "; install the chart's RBAC (`helm upgrade`): its Role lets the importer get and update this Secret, and create Secrets in its own namespace"
        }
        _ => "",
    }
}

impl OwnSecret {
    /// The Secret of that name.
    pub fn new(client: &kube::Client, namespace: &str, name: &'static str) -> Self {
        let api = Api::namespaced(client.clone(), namespace);
        Self { api, namespace: namespace.to_owned(), name }
    }

    /// Reads the Secret and asks `decide` what to do with it, again wherever another importer comes first.
    ///
    /// # Errors
    /// Those of `decide`, and [`OwnSecretError`].
    pub async fn read_or_write<T, E: From<OwnSecretError>>(
        &self,
        mut decide: impl FnMut(Option<Secret>) -> Result<SecretUse<T>, E>,
    ) -> Result<T, E> {
        for _ in 0..ATTEMPTS {
            let secret = self.api.get_opt(self.name).await.map_err(self.failed("get"))?;
            let exists = secret.is_some();
            let (secret, content) = match decide(secret)? {
                SecretUse::Read(content) => return Ok(content),
                SecretUse::Write(secret, content) => (secret, content),
            };
            let options = PostParams::default();
            let (verb, written) = if exists {
                ("update", self.api.replace(self.name, &options, &secret).await)
            } else {
                ("create", self.api.create(&options, &secret).await)
            };
            match written {
                Ok(_) => return Ok(content),
                Err(kube::Error::Api(status)) if status.code == 409 || (exists && status.code == 404) => {}
                Err(source) => return Err(self.failed(verb)(source).into()),
            }
        }
        Err(OwnSecretError::Contended { namespace: self.namespace.clone(), name: self.name }.into())
    }

    fn failed(&self, verb: &'static str) -> impl FnOnce(kube::Error) -> OwnSecretError {
        let (namespace, name) = (self.namespace.clone(), self.name);
        move |source| OwnSecretError::Api { verb, namespace, name, source }
    }
}
