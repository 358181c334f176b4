//! The published schemas of the JSON.

use schemars::JsonSchema;

/// Checks that `docs/schema/{name}.json` describes `T`.
pub(crate) fn assert_published<T: JsonSchema>(name: &str) {
    let path = format!("{}/../../docs/schema/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(T)).unwrap() + "\n";
    if std::env::var_os("ECHO_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        schema == published,
        "the format has changed: look at the difference with  ECHO_WRITE_SCHEMA=1 cargo test -p \
         echo-client schema; git diff docs/schema  and if something was taken away or means \
         something else, raise SCHEMA_VERSION and write another file"
    );
}
