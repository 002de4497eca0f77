// The pages a person sees: plain forms that work without a script.

const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const page = (title, body) => `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>${title}</title>
<body>${body}</body></html>
`;

export const identifier = (hint) => page('Sign in', `
<form method="post"><label>E-mail <input type="email" name="identifier" value="${escape(hint ?? '')}" required></label> <button>Go on</button></form>`);

export const code = (address) => page('Enter the code', `
<form method="post"><input type="hidden" name="identifier" value="${escape(address)}">
<label>Code <input name="code" inputmode="numeric" required></label> <button>Sign in</button></form>`);

// endSession has Logto's form: the engine's, with `logout`, sent by a script.
export const endSession = (form) => page('Signing out', `
${form.replace('</form>', '<input type="hidden" name="logout" value="yes"/><button>Sign out</button></form>')}
<script>document.forms[0].submit()</script>`);

export const signedOut = () => page('Signed out', '<p>You are signed out.</p>');
