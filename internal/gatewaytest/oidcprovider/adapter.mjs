// The engine's storage, in memory. It outlives the engine, which is built anew at each change of the signing keys.

const reuseInterval = 3; // seconds: how long Logto takes a rotated refresh token once more

const now = () => Math.floor(Date.now() / 1000);

export class Storage {
  #rows = new Map(); // :: model and id → { payload, expires in seconds }

  // revoke takes back everything that was granted to an account; with sessions also those, as if it were suspended.
  revoke(accountId, sessions) {
    let grants = 0;
    for (const [key, { payload }] of this.#rows) {
      if (payload.accountId !== accountId || (payload.kind === 'Session' && !sessions)) continue;
      if (payload.kind === 'Grant') grants += 1;
      this.#rows.delete(key);
    }
    return grants;
  }

  // adapter is what the engine asks for each of its models.
  adapter(model) {
    const rows = this.#rows;
    const key = (id) => `${model}:${id}`;
    const find = async (id) => {
      const row = rows.get(key(id));
      if (!row || row.expires <= now()) return undefined;
      const { consumed, ...payload } = row.payload;
      if (consumed && (model !== 'RefreshToken' || now() > consumed + reuseInterval)) payload.consumed = consumed;
      return payload;
    };
    const findBy = (member) => async (value) => {
      for (const [k, { payload }] of rows) {
        if (k.startsWith(`${model}:`) && payload[member] === value) return find(k.slice(model.length + 1));
      }
      return undefined;
    };
    return {
      find,
      findByUid: findBy('uid'),
      findByUserCode: findBy('userCode'),
      async upsert(id, payload, expiresIn) {
        rows.set(key(id), { payload, expires: expiresIn ? now() + expiresIn : Infinity });
      },
      async consume(id) {
        const row = rows.get(key(id));
        if (row) row.payload.consumed ??= now();
      },
      async destroy(id) {
        rows.delete(key(id));
      },
      async revokeByGrantId(grantId) {
        for (const [k, { payload }] of rows) {
          if (payload.grantId === grantId && k.startsWith(`${model}:`)) rows.delete(k);
        }
      },
    };
  }
}
