// Who has an account, what each may do; made, changed and removed here.

import { get, post, type Me } from "../data";
import { h, headRow, put, type Child } from "../dom";
import { sessionTable } from "./account";
import { accountTabs } from "../tabs";

interface Listed { accounts: Me[]; roles: Record<string, string[]> }
const OPERATORS = ["viewer", "operator", "treasurer", "approver", "admin"];

export function peoplePage(root: HTMLElement): () => void {
  document.title = "People · Tieline";
  const box = h("div", { class: "people" });
  const said = h("p", { role: "status", class: "said" });
  put(root, h("div", { class: "page-head" }, h("h1", {}, "People"), h("p", { class: "note" }, "Every change is on record with who, from where, and what it was before."), accountTabs("/people")), said, box);
  const problem = (error: Error): void => {
    said.className = "said bad";
    put(said, error.message);
  };
  const show = (): void => void get<Listed>("/api/people").then((l) => put(box, ...parts(l, act))).catch(problem);
  const act = (path: string, data: unknown): void => {
    post<{ link?: string }>(path, data)
      .then((answer) => {
        said.className = "said";
        put(said, answer.link ? ["Send this link, it works once and for a day: ", h("code", {}, location.origin + answer.link)] : "Done.");
        show();
      })
      .catch(problem);
  };
  show();
  return () => undefined;
}

type Act = (path: string, data: unknown) => void;

function parts(listed: Listed, act: Act): Child[] {
  return [
    h("section", { class: "panel" }, h("div", { class: "scroll" }, h("table", {}, headRow(["Account", "Name", "Roles", "Where", "State", ""]), h("tbody", {}, listed.accounts.map((one) => row(one, act)))))),
    addForm(listed, act),
    h("section", { class: "panel" }, h("h2", {}, "What a role may do"), h("dl", { class: "roles" }, OPERATORS.map((role) => [h("dt", {}, role), h("dd", {}, (listed.roles[role] ?? []).join("; "))]))),
  ];
}

function row(one: Me, act: Act): HTMLElement {
  const button = (name: string, go: () => void): HTMLElement => {
    const el = h("button", { class: "button plain", type: "button" }, name);
    el.addEventListener("click", go);
    return el;
  };
  const tenant = one.tenant ? ` of ${one.tenant}` : "";
  const change = { id: one.id, name: one.name, roles: one.roles, places: one.places };
  const count = one.sessions?.length ?? 0;
  return h("tr", {}, h("td", {}, one.id), h("td", {}, one.name), h("td", {}, (one.roles ?? []).join(", ") + tenant), h("td", {}, one.places?.length ? one.places.join(", ") : "everywhere"),
    h("td", {}, one.disabled ? "disabled" : one.joined ? (count ? h("details", {}, h("summary", {}, count === 1 ? "signed in once" : `signed in ${count} times`), sessionTable(one.id!, one.sessions!, () => act("/api/people/change", change))) : "joined") : "invited"),
    h("td", { class: "acts" }, button("New link", () => act("/api/people/invite", { id: one.id })),
      one.tenant ? null : button(one.disabled ? "Enable" : "Disable", () => act("/api/people/change", { ...change, disabled: !one.disabled })),
      button("Remove", () => {
        if (confirm(`Remove ${one.id}? Their sessions end now.`)) act("/api/people/remove", { id: one.id });
      })));
}

function addForm(listed: Listed, act: Act): HTMLElement {
  const id = h("input", { id: "person-id", required: true, maxlength: "80", autocomplete: "off", spellcheck: "false", placeholder: "ada" });
  const name = h("input", { id: "person-name", required: true, maxlength: "80", autocomplete: "off", placeholder: "Ada Lovelace" });
  const places = h("input", { id: "person-places", autocomplete: "off", spellcheck: "false", placeholder: "everywhere" });
  const boxes = OPERATORS.map((role) => h("input", { type: "checkbox", value: role, id: `role-${role}` }));
  const form = h("form", { class: "panel narrow" }, h("h2", {}, "Invite somebody"), h("label", { for: "person-id" }, "Account"), id, h("label", { for: "person-name" }, "Name"), name,
    h("fieldset", {}, h("legend", {}, "Roles"), boxes.map((box) => h("label", { title: (listed.roles[box.value] ?? []).join("; ") }, box, " ", box.value))),
    h("label", { for: "person-places" }, "Sites or regions that commands are narrowed to, with commas between"), places, h("button", { class: "button", type: "submit" }, "Make a link"));
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    act("/api/people/add", { id: id.value.trim(), name: name.value, roles: boxes.filter((b) => b.checked).map((b) => b.value), places: places.value.split(",").map((p) => p.trim()).filter(Boolean) });
  });
  return form;
}
