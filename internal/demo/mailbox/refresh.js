// Brings new mail into the list without moving focus or scroll: only what is new is added, what is open stays open.
"use strict";
(() => {
  const list = document.getElementById("mails");
  const empty = document.getElementById("empty");
  let tag = "";
  const refresh = async () => {
    try {
      const answer = await fetch(location.href, { cache: "no-store", headers: tag ? { "If-None-Match": tag } : {} });
      if (answer.status === 200) {
        tag = answer.headers.get("ETag") || "";
        merge(new DOMParser().parseFromString(await answer.text(), "text/html"));
      }
    } catch {
      // The demonstration has stopped or is starting again: ask later.
    }
    setTimeout(refresh, document.hidden ? 5000 : 1000);
  };
  const merge = (fresh) => {
    const items = [...fresh.querySelectorAll("#mails > li")];
    const kept = new Set(items.map((item) => item.id));
    for (const old of [...list.children]) {
      if (!kept.has(old.id)) old.remove();
    }
    for (const item of items.reverse()) {
      const old = document.getElementById(item.id);
      if (!old) {
        list.prepend(document.importNode(item, true));
      } else {
        const time = old.querySelector("time");
        const now = item.querySelector("time").textContent;
        if (time.textContent !== now) time.textContent = now;
      }
    }
    empty.hidden = items.length > 0;
  };
  setTimeout(refresh, 1000);
})();
