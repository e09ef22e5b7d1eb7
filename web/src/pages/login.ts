// Signing in, and using a one-time link.

import { get, post } from "../data";
import { h, put } from "../dom";
import { passkeyButton } from "../passkeys";

type Field = [id: string, label: string, type: string, autocomplete: string];

/** A short form whose answer opens the start page; what is refused is said below it. */
function shortForm(root: HTMLElement, title: string, about: string, fields: Field[], button: string, send: (values: Record<string, string>) => Promise<unknown>): HTMLFormElement {
  document.title = `${title} · Tieline`;
  const problem = h("p", { class: "bad", role: "alert" });
  const inputs = fields.map(([id, , type, autocomplete]) => h("input", { id, type, autocomplete, required: true, maxlength: "256" }));
  const submit = h("button", { class: "button", type: "submit" }, button);
  const form = h("form", { class: "login panel" }, h("h1", {}, title), about ? h("p", { class: "note" }, about) : null,
    fields.map(([id, label], i) => [h("label", { for: id }, label), inputs[i]]), submit, problem);
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    submit.disabled = true;
    send(Object.fromEntries(inputs.map((input) => [input.id, input.value])))
      .then(() => location.assign("/"))
      .catch((error: Error) => {
        submit.disabled = false;
        put(problem, error.message);
        inputs[inputs.length - 1]!.focus();
      });
  });
  put(root, form);
  inputs[0]?.focus();
  return form;
}

export function loginPage(root: HTMLElement): () => void {
  if (location.hash === "#token") {
    shortForm(root, "Tieline", "", [["token", "Your operator's token", "password", "current-password"]], "Sign in", (v) => post("/api/login", v));
  } else {
    const form = shortForm(root, "Tieline", "", [["name", "Account", "text", "username"], ["password", "Password", "password", "current-password"]], "Sign in", (v) => post("/api/login", v));
    const other = h("a", { href: "/login#token" }, "Sign in with an operator's token");
    other.addEventListener("click", () => setTimeout(() => loginPage(root)));
    const passkey = passkeyButton(() => location.assign("/"));
    if (passkey) form.append(passkey);
    void get<{ oidc: string | null; tenants?: boolean }>("/api/login/ways").then(({ oidc, tenants }) => {
      if (tenants) form.append(h("p", { class: "note" }, "Forgotten? An owner of your account makes a new link, on its page under People."));
      else form.append(h("p", { class: "note" }, "Forgotten? An admin makes a new link: ", h("code", {}, "tieline people invite ID")), h("p", { class: "note" }, other));
      if (oidc) form.querySelector("h1")!.after(h("a", { class: "button", href: "/login/oidc" }, `Sign in with ${oidc}`), h("p", { class: "note" }, "or with an account of this machine"));
    }).catch(() => undefined);
  }
  return () => undefined;
}

/** The secret stands behind the #, which no server ever sees in an address. */
export function joinPage(root: HTMLElement): () => void {
  const link = location.hash.slice(1);
  history.replaceState(null, "", "/join");
  if (!link) {
    document.title = "Join · Tieline";
    put(root, h("section", { class: "login panel" }, h("h1", {}, "Join"), h("p", {}, "Open the whole link that you were given: its secret stands behind the #.")));
    return () => undefined;
  }
  shortForm(root, "Join", "Your name stands beside what you command. The password: 12 characters or more; four plain words are a good one.",
    [["name", "Your name", "text", "name"], ["password", "A password", "password", "new-password"]], "Join", (v) => post("/api/join", { link, ...v }));
  return () => undefined;
}
