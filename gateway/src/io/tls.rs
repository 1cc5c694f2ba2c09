//! Whom we trust where we are the client: this machine's certificate authorities, or those of a file.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

/// What TLS towards a server needs, read anew. `option` names `ca_file` in sentences, as `[network.hub] ca_file`.
///
/// # Errors
/// If there is no certificate authority to trust; the text says what to do.
pub(super) fn client_config(ca_file: Option<&Path>, option: &str) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => read_authorities(path, &mut roots).with_context(|| {
            format!(
                "{option} names {}, which holds no certificate in PEM form",
                path.display()
            )
        })?,
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            anyhow::ensure!(
                !roots.is_empty(),
                "this machine trusts no certificate authority: install ca-certificates, or name one with {option}"
            );
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read_authorities(path: &Path, roots: &mut RootCertStore) -> anyhow::Result<()> {
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    anyhow::ensure!(!roots.is_empty(), "there is none");
    Ok(())
}
