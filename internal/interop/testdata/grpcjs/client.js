// A client by @grpc/grpc-js and @grpc/grpc-js-xds. Its argument is a target. For each line
// of JSON on its standard input it makes calls and writes a line that counts who
// answered, up to the first error:
//   {"calls": 100, "path": "/shop.Payments/Charge", "header": {"k": "v"}}  ->  {"answers": {"v1.1": 100}, "errors": {}}
'use strict';
const grpc = require('@grpc/grpc-js');
require('@grpc/grpc-js-xds').register();

const client = new grpc.Client(process.argv[2], grpc.credentials.createInsecure());
const same = (buffer) => buffer;

function call(request) {
  const metadata = new grpc.Metadata();
  for (const [k, v] of Object.entries(request.header || {})) metadata.set(k, v);
  const options = { deadline: Date.now() + 10000 };
  return new Promise((resolve) => {
    client.makeUnaryRequest(request.path, same, same, Buffer.alloc(0), metadata, options, (error, reply) => {
      // The reply has one field, 1, a short string: two bytes of head, then the string.
      resolve(error ? { error: `${error.code}: ${error.details}` } : { answer: reply.subarray(2).toString() });
    });
  });
}

async function main() {
  for await (const line of require('readline').createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    const result = { answers: {}, errors: {} };
    const count = (of, what) => { of[what] = (of[what] || 0) + 1; };
    for (let i = 0; i < request.calls; i++) {
      const { error, answer } = await call(request);
      error ? count(result.errors, error) : count(result.answers, answer);
      if (error) break;
    }
    console.log(JSON.stringify(result));
  }
  client.close();
  process.exit(0);
}
main();
