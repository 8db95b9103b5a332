// SPDX-License-Identifier: Apache-2.0
//! The program itself as a child process, with an API server of the tests.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::json;

/// An importer that runs until this is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Starts one that asks the API server at `api` and serves its health at `http`.
    pub(crate) fn start(api: SocketAddr, http: SocketAddr, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for name in ["bundles", "keys"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        let config = json!({
            "namespace": "krs-system", "allowedDestinations": ["edge.example.com:5000"],
            "registry": {"host": "krs-importer.krs-system.svc:5443", "listen": "127.0.0.1:0"},
            "http": http.to_string(), "jobs": {"image": "krs-importer:1"},
            "trustedKeys": path("keys"), "intake": {"folder": path("bundles")},
        });
        std::fs::write(path("config.yaml"), config.to_string()).unwrap();
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": format!("http://{api}")}}],
            "users": [{"name": "x", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        std::fs::write(path("kubeconfig"), kubeconfig.to_string()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_krs-importer"))
            .args(["run", "--config", &path("config.yaml"), "--log", "warn"])
            .env("KUBECONFIG", path("kubeconfig"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, _folder: folder }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
