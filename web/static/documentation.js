// Swagger fills a form with invented values; here what has no default begins empty, and what is empty is not sent.
const place = document.getElementById("documentation");
const spec = await (await fetch(place.dataset.document)).json();

for (const operation of Object.values(spec.paths).flatMap(Object.values)) {
  const fields = operation.requestBody?.content["multipart/form-data"]?.schema.properties ?? {};
  for (const field of Object.values(fields)) {
    if (!("default" in field) && field.format !== "binary") field.example = field.type === "array" ? [] : "";
  }
}

function withoutEmpty(request) {
  const { body } = request;
  if (body instanceof FormData) {
    for (const name of new Set(body.keys())) if (body.getAll(name).every((value) => value === "")) body.delete(name);
  }
  return request;
}

SwaggerUIBundle({ spec, domNode: place, deepLinking: true, validatorUrl: null, requestInterceptor: withoutEmpty });
