// What gateways refused before they took it, in words: for the operator's page of inference, and as a tenant sees its own.

import { h, type Child } from "./dom";
import { num } from "./format";
import { table } from "./tables";
import { when } from "./times";

export interface Refused { tenant: string; code: string; day: number; hour: number; last: number; hours: [number, number][] }
export interface RefusedView { rows: Refused[]; more: number; total: number }

export const MEANING: Record<string, string> = {
  insufficient_quota: "Budget spent", rate_limit: "Too many requests a minute", token_limit: "Too many tokens a minute", concurrency_limit: "Too many at once",
  overloaded: "Queue full", no_capacity: "No replica had room in time", budget_unavailable: "Budgets could not be asked", model_not_found: "No such model for the key",
  invalid_api_key: "No such key", missing_api_key: "No key was shown", expired_api_key: "The key has expired", tenant_disabled: "The account is disabled",
  address_not_allowed: "Not from this address", role_not_allowed: "Not with a key of this role",
};

export const meaning = (code: string): string => MEANING[code] ?? code.replace(/_/g, " ").replace(/^./, (c) => c.toUpperCase());

/** A tenant's own, a row for each reason. */
export function refusedTable(view: RefusedView): Child[] {
  const rows = view.rows.map((r): Child[] => [h("span", {}, meaning(r.code), h("small", {}, ` ${r.code}`)), num(r.hour, 0), num(r.day, 0), when(r.last)]);
  return [
    table(["Why", "This hour", "Last day", "Last in the hour of"], rows, "Nothing was refused in the last day."),
    view.more ? h("p", { class: "note" }, `${num(view.more, 0)} more rows`) : null,
  ];
}
