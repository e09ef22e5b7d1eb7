// Oneself: what one may do, where one is signed in, the password.

import { get, post, type Me, type Session } from "../data";
import { h, headRow, put, type Child } from "../dom";
import { age } from "../format";
import { passkeyPanel } from "../passkeys";
import { accountTabs } from "../tabs";

export function accountPage(root: HTMLElement): () => void {
  document.title = "Account · Tieline";
  const box = h("div", { class: "account" });
  put(root, h("div", { class: "page-head" }, h("h1", {}, "Account"), accountTabs("/account")), box);
  const show = (): void => {
    get<Me>("/api/me").then((me) => put(box, ...parts(me, show))).catch((error: Error) => put(box, h("p", { class: "bad" }, error.message)));
  };
  show();
  return () => undefined;
}

function parts(me: Me, again: () => void): Child[] {
  if (!me.id) {
    return [h("section", { class: "panel" }, h("h2", {}, me.signs_in ? "Not signed in" : "Nobody signs in here yet"),
      h("p", {}, me.signs_in ? h("a", { href: "/login" }, "Sign in") : "As long as there is no admin, whoever sits at this machine may command, and the name they give is recorded as unproven. The first admin is made by the one-time link that `tieline up` prints."))];
  }
  const leave = h("button", { class: "button plain", type: "button" }, "Sign out");
  leave.addEventListener("click", () => void post("/api/logout", {}).then(() => location.assign("/login")));
  return [
    h("section", { class: "panel" }, h("h2", {}, me.name || me.id), h("p", { class: "note" }, `${me.id} · ${(me.roles ?? []).join(", ")}${me.places?.length ? ` at ${me.places.join(", ")}` : ""}`), leave),
    me.sessions?.length ? h("section", { class: "panel" }, h("h2", {}, "Signed in"), sessionTable(me.id, me.sessions, again)) : null,
    me.joined ? passkeyPanel() : null,
    me.joined ? passwordForm() : null,
  ];
}

export function sessionTable(id: string, sessions: Session[], again: () => void): HTMLElement {
  const now = Date.now() / 1000;
  return h("div", { class: "scroll" }, h("table", {}, headRow(["Last seen", "From", "Browser", ""]),
    h("tbody", {}, sessions.map((one) => {
      const end = h("button", { class: "button plain", type: "button" }, "End");
      end.addEventListener("click", () => void post("/api/sessions/revoke", { id, session: one.id }).then(again));
      return h("tr", {}, h("td", {}, age(now - one.seen)), h("td", {}, one.address), h("td", { class: "agent" }, one.agent), h("td", {}, end));
    }))));
}

function passwordForm(): HTMLElement {
  const old = h("input", { id: "old", type: "password", autocomplete: "current-password", required: true });
  const fresh = h("input", { id: "new", type: "password", autocomplete: "new-password", required: true, minlength: "12" });
  const said = h("p", { role: "status" });
  const form = h("form", { class: "panel narrow" }, h("h2", {}, "Change the password"), h("p", { class: "note" }, "Every other session ends."), h("label", { for: "old" }, "The one you have"), old, h("label", { for: "new" }, "A new one, 12 characters or more"), fresh, h("button", { class: "button", type: "submit" }, "Change"), said);
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    post("/api/me/password", { old: old.value, new: fresh.value })
      .then(() => {
        form.reset();
        said.className = "";
        put(said, "Changed.");
      })
      .catch((error: Error) => {
        said.className = "bad";
        put(said, error.message);
      });
  });
  return form;
}
