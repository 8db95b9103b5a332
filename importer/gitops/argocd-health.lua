-- SPDX-License-Identifier: Apache-2.0
-- How Argo CD judges an EdgeImageSet: the value of
-- resource.customizations.health.kuberegistrysync.io_EdgeImageSet in the ConfigMap argocd-cm.
-- The resource follows kstatus; see docs/gitops.md.

local function judged(status, message)
  return { status = status, message = message or "" }
end

if obj.spec ~= nil and obj.spec.suspend == true then
  return judged("Suspended", "The set is suspended.")
end

local status = obj.status
if status == nil or status.conditions == nil then
  return judged("Progressing", "Waiting for the importer.")
end
if status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return judged("Progressing", "Waiting for the importer to see the latest change.")
end

local is = {}
for _, condition in ipairs(status.conditions) do
  is[condition.type] = condition
end
if is.Stalled ~= nil and is.Stalled.status == "True" then
  return judged("Degraded", is.Stalled.message)
end
if is.Ready == nil then
  return judged("Progressing", "Waiting for the importer.")
end
if is.Ready.status == "True" then
  return judged("Healthy", is.Ready.message)
end
return judged("Progressing", is.Ready.message)
