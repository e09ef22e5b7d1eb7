// The page's frame: which page, and moving between them without loading anew.

import { feed, get, type Me } from "./data";
import { h, put } from "./dom";
import { Header } from "./header";
import { disclosuresPage } from "./pages/disclosures";
import { inferencePage } from "./pages/inference";
import { booksPage, treasuryPage, updatePage } from "./pages/money";
import { accountPage } from "./pages/account";
import { alertsPage } from "./pages/alerts";
import { approvalsPage } from "./pages/approvals";
import { auditPage } from "./pages/audit";
import { joinPage, loginPage } from "./pages/login";
import { observedPage } from "./pages/observed";
import { rigPage } from "./pages/rig";
import { rigsPage } from "./pages/rigs";
import { listenForPalette } from "./palette";
import { myPage, portalHeader } from "./pages/my";
import { peoplePage } from "./pages/people";
import { overviewPage } from "./pages/overview";
import { recordPage, recordsPage } from "./pages/records";
import { sitePage } from "./pages/site";
import { tomorrowPage } from "./pages/tomorrow";

const root = document.getElementById("page")!;
let leave: (() => void) | null = null;
let header: Header | null = null;
// A change of the part after # stays on its page, which listens for it.
let shown = location.pathname;

function route(): void {
  leave?.();
  const path = location.pathname;
  shown = path;
  const rig = path.match(/^\/rigs\/([^/]+)\/([^/]+)$/);
  const site = path.match(/^\/site\/([^/]+)$/), record = path.match(/^\/records\/(\d+)$/);
  root.className = path === "/" ? "overview" : path.split("/")[1]!;
  header?.here(path);
  if (path === "/my") leave = myPage(root);
  else if (path === "/login") leave = loginPage(root);
  else if (path === "/join") leave = joinPage(root);
  else if (path === "/account") leave = accountPage(root);
  else if (path === "/people") leave = peoplePage(root);
  else if (path === "/audit") leave = auditPage(root);
  else if (path === "/observed") leave = observedPage(root);
  else if (path === "/rigs") leave = rigsPage(root);
  else if (rig) leave = rigPage(root, decodeURIComponent(rig[1]!), decodeURIComponent(rig[2]!));
  else if (path === "/approvals") leave = approvalsPage(root);
  else if (path === "/alerts") leave = alertsPage(root);
  else if (path === "/tomorrow") leave = tomorrowPage(root);
  else if (site) leave = sitePage(root, decodeURIComponent(site[1]!));
  else if (record) leave = recordPage(root, record[1]!);
  else if (path === "/inference") leave = inferencePage(root);
  else if (path === "/treasury") leave = treasuryPage(root);
  else if (path === "/books") leave = booksPage(root);
  else if (path === "/update") leave = updatePage(root);
  else if (path === "/disclosures") leave = disclosuresPage(root);
  else if (path.startsWith("/records")) leave = recordsPage(root);
  else leave = overviewPage(root, open);
}

function open(path: string): void {
  history.pushState(null, "", path);
  route();
  scrollTo(0, 0);
}

document.addEventListener("click", (e) => {
  const a = (e.target as Element).closest?.("a[data-nav]");
  if (!a || e.defaultPrevented || e.button || e.metaKey || e.ctrlKey || e.shiftKey) return;
  e.preventDefault();
  document.querySelector("dialog")?.remove();
  open(a.getAttribute("href")!);
});
addEventListener("popstate", () => {
  if (location.pathname === shown) return;
  route();
});

async function start(): Promise<void> {
  if (location.pathname === "/login" || location.pathname === "/join") {
    route();
    return;
  }
  // A tenant's person has two pages and is told nothing of the fleet.
  if (location.pathname === "/my" || location.pathname === "/account") {
    const me = await get<Me>("/api/me").catch(() => null);
    if (location.pathname === "/my" || me?.tenant) {
      document.getElementById("top")!.append(portalHeader(me));
      route();
      return;
    }
  }
  for (;;) {
    try {
      await feed.load();
      break;
    } catch (error) {
      put(root, h("p", { class: "wait" }, `The console does not answer (${(error as Error).message}). Trying again.`));
      await new Promise((done) => setTimeout(done, 1500));
    }
  }
  header = new Header(open);
  listenForPalette(open);
  document.getElementById("top")!.append(header.el);
  route();
  feed.start();
}

void start();
