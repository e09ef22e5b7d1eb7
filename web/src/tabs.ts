// Pages that belong together: a row of their names under each one's head.

import { get, type Me } from "./data";
import { h } from "./dom";

type Tab = readonly [href: string, name: string];

export const RECORDS: readonly Tab[] = [["/records", "Records"], ["/observed", "Observed"], ["/audit", "Audit"]];
const ACCOUNT: readonly Tab[] = [["/account", "Account"], ["/people", "People"]];

export function tabs(label: string, pages: readonly Tab[], here: string): HTMLElement {
  return h("nav", { class: "tabs", "aria-label": label }, pages.map(([href, name]) =>
    h("a", { href, "data-nav": true, "aria-current": href === here ? "page" : null }, name)));
}

/** Oneself, and everybody else for whoever may change them. */
export function accountTabs(here: string): HTMLElement {
  const row = h("div", {});
  void get<Me>("/api/me").then((me) => {
    if (me.rights.includes("PEOPLE")) row.append(tabs("Accounts", ACCOUNT, here));
  }).catch(() => undefined);
  return row;
}
