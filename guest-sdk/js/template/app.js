/** @param {import('roadrunner-guest').Request} request */
export default function hello(request) {
  return `hello, ${request.param('name') ?? 'world'}\n`;
}
