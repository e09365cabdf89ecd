//! The commands about what boxes show of themselves: barred TPMs, expected registers.

use super::Printer;
use super::named::{self, REGISTER_VALUE, TPM};
use super::proof::proven;
use crate::arguments::{Registers, Tpms};
use noderr_cli::Client;
use serde_json::json;

pub(crate) async fn tpms(client: &Client, printer: &Printer, command: Tpms) -> anyhow::Result<()> {
    match command {
        Tpms::List { limit } => {
            let columns = [
                ("tpm", "tpm"),
                ("node", "node"),
                ("barred", "barred_at"),
                ("by", "barred_by"),
                ("reason", "reason"),
            ];
            printer.list(client, "/tpms", (limit, 100), &columns).await
        }
        Tpms::Admit { tpm } => {
            let tpm = named::resolve(client, &TPM, "/tpms", &tpm).await?;
            let path = format!("/tpms/{tpm}");
            let answer = proven(client, async || client.delete(&path).await).await?;
            printer.done(&answer, "it may enrol again")
        }
    }
}

pub(crate) async fn registers(client: &Client, printer: &Printer, command: Registers) -> anyhow::Result<()> {
    match command {
        Registers::List => {
            let columns = [
                ("register", "register"),
                ("value", "value"),
                ("note", "note"),
                ("by", "accepted_by"),
                ("at", "accepted_at"),
            ];
            let values = client.get("/expected-registers").await?;
            printer.rows(values.as_array().cloned().unwrap_or_default(), &columns)?;
        }
        Registers::Expect { register, value, note } => {
            let body = json!({ "register": register, "value": value.to_lowercase(), "note": note });
            let path = "/expected-registers";
            let answer = proven(client, async || client.post(path, &body).await).await?;
            printer.done(&answer, "expected of the whole fleet")?;
        }
        Registers::Forget { register, value } => {
            let of_register = async || {
                let mut expected = client.get("/expected-registers").await?;
                if let Some(all) = expected.as_array_mut() {
                    all.retain(|expected| expected["register"] == register);
                }
                Ok(expected)
            };
            let value = named::resolve_in(&REGISTER_VALUE, &value, of_register).await?;
            let path = format!("/expected-registers/{register}/{value}");
            let answer = proven(client, async || client.delete(&path).await).await?;
            printer.done(&answer, "no longer expected")?;
        }
    }
    Ok(())
}
